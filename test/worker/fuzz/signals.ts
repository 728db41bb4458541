import fc from "fast-check"
import { ErasureRequest } from "../../../src/signals/erasure.ts"
import { FAILURE_CODE_NAMES } from "../../../src/signals/failures.ts"
import { countContainers, parseJson, parseNdjson, TooManyContainers } from "../../../src/signals/json.ts"
import { isDeeperThan } from "../../../src/signals/payload.ts"
import { ignoredFields, planBatch } from "../../../src/signals/plan.ts"
import { timeLimitAt } from "../../../src/signals/rules.ts"
import { withPlainNumbers } from "../../../src/signals/schema.ts"
import { type ShapeError, shapeErrors, Unreadable } from "../../../src/signals/shape-errors.ts"
import { parseTimestamp } from "../../../src/signals/timestamp.ts"
import { validateBatch } from "../../../src/signals/validate.ts"
import { batch, erasure, ndjson, signal } from "../../setup/fuzz/bodies.ts"
import { expect, refusing, type Suite, suite } from "../../setup/fuzz/check.ts"
import { edited } from "../../setup/fuzz/mutations.ts"
import { jsonText, linesOf, numberText, text } from "../../setup/fuzz/values.ts"

const NOW = "2026-01-01T00:00:00.000000Z"
const UTC_TEXT = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/
const CODES: ReadonlySet<string> = new Set(FAILURE_CODE_NAMES)

const isJson = (sent: string) => refusing(() => ({ value: JSON.parse(sent) as unknown }), SyntaxError)

const readsAsRuntime = (sent: string) => {
  const runtime = isJson(sent)
  const read = refusing(() => ({ value: parseJson(sent) }), Unreadable)
  expect(
    (read === undefined) === (runtime === undefined),
    "parseJson and JSON.parse disagree on whether it is JSON",
  )
  refusing(() => countContainers(new TextEncoder().encode(sent)), TooManyContainers)
  if (!read || !runtime || isDeeperThan(runtime.value, 500)) return
  const written = JSON.stringify(read.value)
  expect(
    JSON.stringify(JSON.parse(written)) === JSON.stringify(runtime.value),
    "a value changed on its way through parseJson",
  )
  expect(JSON.stringify(parseJson(written)) === written, "a number changes when it is read again")
}

const isTold = (errors: readonly ShapeError[]) => {
  expect(errors.length > 0 && errors.length <= 101, `a refusal holds ${errors.length} errors`)
  JSON.stringify(errors)
}

/** As `readBatch` does with a body's text. */
function judge(
  sent: string,
  { isLines, lenient, failOnError }: { isLines: boolean; lenient: boolean; failOnError: boolean },
) {
  const read = refusing(
    () =>
      isLines ? { signals: parseNdjson(sent, 1000, { lenient: lenient && !failOnError }) } : parseJson(sent),
    Unreadable,
  )
  if (read === undefined) return
  const { signals } = (read ?? {}) as { signals?: unknown }
  if (Array.isArray(signals)) for (const one of signals) withPlainNumbers(one)
  const valid = validateBatch(read, { failOnError, lenient })
  if (Array.isArray(valid)) return isTold(valid)
  const timeLimit = timeLimitAt(new Date(NOW), 86_400)
  const { total, rows, failures } = planBatch(valid.signals, NOW, { mayBridge: false, timeLimit })
  expect(rows.length + failures.length === total, "a signal is neither a row nor a failure")
  for (const { time, payload } of rows) {
    expect(UTC_TEXT.test(time), `a row has the time ${time}`)
    if (payload !== "") JSON.parse(payload)
  }
  for (const { code, error } of failures)
    expect(CODES.has(code) && error.isWellFormed(), `a failure has the code ${code}`)
  const ignored = ignoredFields(read as { signals: unknown[] })
  expect(ignored.length <= 100, "more than 100 ignored fields are named")
}

const flags = { isLines: fc.boolean(), lenient: fc.boolean(), failOnError: fc.boolean() }

const timestampText = fc.oneof(
  fc
    .tuple(
      fc.constantFrom(
        "2025-01-15",
        "20250115",
        "0001-01-01",
        "9999-12-31",
        "2024-02-29",
        "2025-02-29",
        "0000-00-00",
      ),
      fc.constantFrom("T", " ", "t", ""),
      fc.constantFrom("09:30:00", "0930", "09", "23:59:59.9999999", "24:00", "23:59:60", "09:30:00,5", ""),
      fc.constantFrom("Z", "+02:00", "-2359", "+24:00", "z", "+", ""),
    )
    .map((parts) => parts.join("")),
  text,
)

export const SIGNAL_SUITES: Record<string, Suite> = {
  json: suite({ inputs: edited(fc.oneof(jsonText, batch, signal)), check: readsAsRuntime }),
  ndjson: suite({
    inputs: edited(fc.oneof(ndjson, linesOf(jsonText))),
    check(sent) {
      const values = refusing(() => parseNdjson(sent, 3), Unreadable)
      expect((values?.length ?? 0) <= 4, "reading went on behind the first value too many")
      expect(
        parseNdjson(sent, 3, { lenient: true }).length <= 4,
        "reading went on behind the first value too many",
      )
    },
  }),
  batch: suite({
    inputs: fc.record({ sent: edited(fc.oneof(batch, ndjson)), ...flags }),
    check: ({ sent, ...asked }) => judge(sent, asked),
  }),
  erasure: suite({
    inputs: edited(erasure),
    check(sent) {
      const read = refusing(() => ({ value: parseJson(sent) }), Unreadable)
      const result = read && ErasureRequest.safeParse(read.value)
      if (result?.success === false) isTold(shapeErrors(result.error.issues, read?.value, ["body"]))
    },
  }),
  timestamp: suite({
    inputs: fc.oneof(edited(timestampText), fc.double(), numberText.map(Number)),
    check(sent) {
      const read = parseTimestamp(sent)
      if (typeof read !== "string") return expect(read.message.length > 0, "a refusal says nothing")
      expect(UTC_TEXT.test(read), `it becomes ${read}`)
      expect(parseTimestamp(read) === read, `${read} becomes another time when it is read again`)
      const ms = typeof sent === "string" ? Date.parse(sent) : Number.NaN
      if (/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,3})?Z$/.test(String(sent)) && !Number.isNaN(ms))
        expect(Date.parse(read) === ms, `the runtime reads another time than ${read}`)
    },
  }),
}

import fc from "fast-check"
import { describe, expect, it } from "vitest"
import { Rejected } from "../../../src/signals/failures.ts"
import { parseNdjson } from "../../../src/signals/json.ts"
import { ignoredFields, planBatch } from "../../../src/signals/plan.ts"
import { validateBatch } from "../../../src/signals/validate.ts"

const NOW = "2026-01-02T03:04:05.000000Z"
const LENIENT = { failOnError: false, lenient: true }
const STRICT = { failOnError: false, lenient: false }

const planOf = (signals: unknown[]) => {
  const valid = validateBatch({ signals }, LENIENT)
  if (Array.isArray(valid)) throw new Error("the batch is invalid as a whole")
  return planBatch(valid.signals, NOW)
}

describe("a batch that is validated leniently", () => {
  it.each([
    [{}, { error: "context_window_id: Field required", code: "missing_field", field: "context_window_id" }],
    [
      { context_window_id: "a", signal_score: "high" },
      { error: "signal_score: Input should be a valid number", code: "wrong_type", field: "signal_score" },
    ],
    [
      { context_window_id: "a", timestamp: "tomorrow" },
      {
        error: expect.stringMatching(/^timestamp: Input should be/),
        code: "invalid_timestamp",
        field: "timestamp",
      },
    ],
    [
      null,
      { error: "Input should be a valid dictionary or object to extract fields from", code: "wrong_type" },
    ],
    [
      "text",
      { error: "Input should be a valid dictionary or object to extract fields from", code: "wrong_type" },
    ],
    [
      [],
      { error: "Input should be a valid dictionary or object to extract fields from", code: "wrong_type" },
    ],
    [
      { context_window_id: "a", signal_score: 2 },
      { code: "out_of_range", field: "signal_score" },
    ],
  ])("fails %j alone, at its index", (bad, why) => {
    const plan = planOf([{ context_window_id: "a" }, bad, { context_window_id: "b" }])
    expect(plan).toMatchObject({
      total: 3,
      rows: [{ index: 0 }, { index: 2 }],
      failures: [{ ...why, index: 1, retryable: false }],
    })
    expect(plan.failures[0]?.field).toBe("field" in why ? why.field : undefined)
  })

  it("fails exactly the signals that strict validation names", () => {
    const value = fc.oneof(
      fc.jsonValue(),
      fc.record({
        context_window_id: fc.oneof(fc.string(), fc.jsonValue()),
        signal_score: fc.oneof(fc.double(), fc.jsonValue()),
      }),
    )
    fc.assert(
      fc.property(fc.array(value, { maxLength: 10 }), (signals) => {
        const strict = validateBatch({ signals }, STRICT)
        const lenient = validateBatch({ signals }, LENIENT)
        if (Array.isArray(lenient)) throw new Error("the batch is invalid as a whole")
        const rejected = lenient.signals.flatMap((signal, index) =>
          signal instanceof Rejected ? [index] : [],
        )
        expect(new Set(rejected)).toEqual(
          new Set(Array.isArray(strict) ? strict.map(({ loc }) => loc[2]) : []),
        )
      }),
    )
  })

  it.each([
    ["the body asks for all or nothing", { signals: [{}], fail_on_error: true }, LENIENT],
    ["the query asks for all or nothing", { signals: [{}] }, { failOnError: true, lenient: true }],
    ["there is no list of signals", { signals: 1 }, LENIENT],
    ["there is no batch", [], LENIENT],
    ["what stands beside the signals is wrong", { signals: [{}], fail_on_error: 1 }, LENIENT],
  ])("is invalid as a whole where %s", (_, body, asked) =>
    expect(validateBatch(body, asked)).toBeInstanceOf(Array),
  )

  it("says whether it was validated leniently", () => {
    const body = { signals: [{ context_window_id: "a" }] }
    expect(validateBatch(body, LENIENT)).toMatchObject({ lenient: true, failOnError: false })
    expect(validateBatch({ ...body, fail_on_error: true }, LENIENT)).toMatchObject({
      lenient: false,
      failOnError: true,
    })
    expect(
      validateBatch({ ...body, fail_on_error: false }, { failOnError: true, lenient: true }),
    ).toMatchObject({
      lenient: true,
    })
  })
})

describe("a line of NDJSON that is not JSON", () => {
  const lines = (text: string) => planOf(parseNdjson(text, 100, { lenient: true }))

  it("fails alone, at its index among the lines that are not blank", () =>
    expect(lines('{"context_window_id":"a"}\n\n{oops\n{"context_window_id":"b"}')).toMatchObject({
      rows: [{ index: 0 }, { index: 2 }],
      failures: [{ index: 1, code: "invalid_json", error: expect.stringMatching(/^Invalid JSON: line 3: /) }],
    }))

  it.each([
    "secret words",
    "\u{1F600}",
    "[\0]",
    `[1 "\u{1F600}\u{1F600}\u{1F600}\u{1F600}\u{1F600}\u{1F600}"]`,
    "{",
    '{"a":"',
  ])("is not quoted in the failure, which Postgres can store: %j", (line) => {
    const [failure] = lines(line).failures
    expect(failure?.error).not.toMatch(/secret|words/)
    expect(JSON.stringify(failure)).not.toMatch(/\\u0000|\\ud[89a-f]/)
  })

  it("stops the reading after more lines than a batch may have", () =>
    expect(parseNdjson("x\n".repeat(1000), 10, { lenient: true })).toHaveLength(11))

  it("has no ignored fields", () =>
    expect(
      ignoredFields({ signals: [...parseNdjson('x\n"ab"\n[1]\nnull\n{"z":1}', 9, { lenient: true })] }),
    ).toEqual(["z"]))
})

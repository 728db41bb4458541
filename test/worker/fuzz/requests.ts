import { brotliCompressSync, constants, deflateSync, gzipSync, zstdCompressSync } from "node:zlib"
import fc from "fast-check"
import type * as z from "zod"
import {
  standardWebhookError,
  standardWebhookHeaderError,
} from "../../../src/bridges/kafka/standard-webhooks.ts"
import { slackHeaderError, slackSignatureError } from "../../../src/bridges/slack/signature.ts"
import { decode, ENCODING_NAMES, encodingOf } from "../../../src/http/body/encodings.ts"
import { readPreferences } from "../../../src/http/request/headers.ts"
import * as params from "../../../src/http/request/params.ts"
import { encodeFeedCursor, FeedQuery } from "../../../src/http/request/params.ts"
import { withPayload } from "../../../src/http/request/payload-params.ts"
import { Problem } from "../../../src/http/request/problems.ts"
import { decodeUtf8 } from "../../../src/signals/json.ts"
import { shapeErrors, Unreadable } from "../../../src/signals/shape-errors.ts"
import { continueTrace, readTraceparent, traceparentOf } from "../../../src/trace.ts"
import { expect, refusing, type Suite, suite } from "../../setup/fuzz/check.ts"
import { edited, editedBytes } from "../../setup/fuzz/mutations.ts"
import { jsonText, numberText, text } from "../../setup/fuzz/values.ts"

const LIMIT_BYTES = 64 * 1024

/** The highest quality, Brotli's default, takes longer than all the rest. */
const brotli = (bytes: Buffer) =>
  brotliCompressSync(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: 4 } })
const COMPRESS = { gzip: gzipSync, deflate: deflateSync, br: brotli, zstd: zstdCompressSync }

/** What is packed: text, and what unfolds to more than the limit. */
const plain = fc.oneof(
  { weight: 6, arbitrary: jsonText.map((sent) => Buffer.from(sent)) },
  {
    weight: 1,
    arbitrary: fc
      .constantFrom(0, 1, LIMIT_BYTES, LIMIT_BYTES + 1, 1024 * 1024)
      .map((size) => Buffer.alloc(size, " ")),
  },
)

const packed = fc
  .tuple(plain, fc.constantFrom(...ENCODING_NAMES), fc.constantFrom(1, 1, 1, 2, 101))
  .map(([bytes, name, parts]) => {
    const one = COMPRESS[name](bytes)
    return { name, bytes: new Uint8Array(Buffer.concat(Array<Buffer>(parts).fill(one))) }
  })

const QUERIES: Record<string, z.ZodType> = {
  list: withPayload(params.ListQuery),
  stats: params.StatsQuery,
  batch: params.BatchQuery,
  kafka: params.KafkaQuery,
  ledger: params.LedgerQuery,
  metrics: params.MetricsQuery,
  deadLetters: params.DeadLetterQuery,
  replay: params.ReplayQuery,
  feed: FeedQuery,
  batchPath: params.BatchPath,
  signalPath: params.SignalPath,
  erasurePath: params.ErasurePath,
}

const PARAMETERS = [
  ..."context_window_id signal_source user_id agent_id escalate_flag min_score max_score since until limit cursor q payload.a payload.a..b payload.a\\\\.b".split(
    " ",
  ),
  ..."fail_on_error cluster window state source transaction_id ids after wait id erasure_id".split(" "),
]

const base64url = (bytes: Uint8Array) => bytes.toBase64({ alphabet: "base64url", omitPadding: true })
const UUID = "0195f2f4-0000-7000-8000-000000000000"

/** Cursors as the service writes them, and what looks alike. */
const cursor = fc
  .oneof(
    jsonText,
    fc
      .tuple(fc.constantFrom("2025-01-15T09:30:00.000000Z", "2025-01-15"), fc.integer())
      .map((parts) => JSON.stringify(parts)),
    fc
      .tuple(
        fc.constantFrom(1, 2),
        fc.constantFrom("0", "18446744073709551615", "18446744073709551616"),
        fc.constant(UUID),
        fc.nat(),
      )
      .map((parts) => JSON.stringify(parts)),
  )
  .map((sent) => base64url(new TextEncoder().encode(sent)))

const parameter = fc.oneof(
  text,
  numberText,
  edited(cursor),
  fc.constantFrom(
    "true",
    "0",
    "now",
    "1h",
    "waiting",
    UUID,
    "1,2,3",
    "2025-01-15 09:30:00 02:00",
    "2025-01-15T09:30:00 02:00",
  ),
)

const TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
const PREFER = fc.constantFrom(
  "return=minimal",
  'respond-async, handling=lenient; a="b, c"',
  'foo="x, return=minimal"',
  ",,return=minimal;;",
  `a${" ".repeat(900)}`,
  '"'.repeat(900),
)

const NOW_SECONDS = 1_736_933_400
const signature = edited(
  fc.constantFrom(
    `v1,${btoa("x".repeat(32))}`,
    "v1,",
    `v0=${"0a".repeat(32)}`,
    Array(11)
      .fill(`v1,${btoa("x".repeat(32))}`)
      .join(" "),
  ),
)
const SECRETS = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "not base64 !", "whsec_"]

export const REQUEST_SUITES: Record<string, Suite> = {
  codecs: suite({
    inputs: packed.chain(({ name, bytes }) =>
      fc.record({ name: fc.constant(name), bytes: editedBytes(fc.constant(bytes)) }),
    ),
    check({ name, bytes }) {
      if (bytes.length === 0) return
      const decoded = refusing(() => decode(name, bytes, LIMIT_BYTES), Problem)
      expect((decoded?.length ?? 0) <= LIMIT_BYTES, "more than the limit was decoded")
    },
  }),
  utf8: suite({
    inputs: fc.oneof(
      fc.uint8Array({ maxLength: 40 }),
      editedBytes(text.map((sent) => new TextEncoder().encode(sent))),
    ),
    check(bytes) {
      expect(
        refusing(() => decodeUtf8(bytes), Unreadable)?.isWellFormed() !== false,
        "text with a lone surrogate was decoded",
      )
    },
  }),
  parameters: suite({
    inputs: fc.record({
      name: fc.constantFrom(...Object.keys(QUERIES)),
      sent: fc.dictionary(
        fc.oneof({ weight: 9, arbitrary: fc.constantFrom(...PARAMETERS) }, { weight: 1, arbitrary: text }),
        parameter,
        {
          maxKeys: 5,
        },
      ),
    }),
    check({ name, sent }) {
      const result = QUERIES[name]?.safeParse(sent)
      if (result?.success === false) JSON.stringify(shapeErrors(result.error.issues, sent, ["query"]))
    },
  }),
  cursors: suite({
    inputs: edited(cursor),
    check(sent) {
      const listed = params.ListQuery.safeParse({ cursor: sent })
      const position = listed.success ? listed.data.cursor : undefined
      if (position) {
        const again = params.ListQuery.parse({ cursor: params.encodeCursor(position) })
        expect(
          JSON.stringify(again.cursor) === JSON.stringify(position),
          "a cursor changes when it is read again",
        )
      }
      const fed = FeedQuery.safeParse({ after: sent })
      const after = fed.success ? fed.data.after : undefined
      if (typeof after === "object") {
        const again = FeedQuery.parse({ after: encodeFeedCursor(after) })
        expect(
          JSON.stringify(again.after) === JSON.stringify(after),
          "a cursor of the feed changes when it is read again",
        )
      }
    },
  }),
  headers: suite({
    inputs: fc.record({
      prefer: edited(fc.oneof(PREFER, text)),
      traceparent: edited(fc.constant(TRACEPARENT)),
      encoding: edited(text),
    }),
    check({ prefer, traceparent, encoding }) {
      for (const [key, value] of readPreferences(prefer))
        expect(
          key === key.toLowerCase() && prefer.toLowerCase().includes(key) && typeof value === "string",
          "a preference was made up",
        )
      const trace = readTraceparent(traceparent)
      if (trace)
        expect(
          readTraceparent(traceparentOf(continueTrace(trace)))?.traceId === trace.traceId,
          "a trace changes its id",
        )
      encodingOf(encoding)
    },
  }),
  signatures: suite({
    inputs: fc.record({
      timestamp: fc.option(edited(fc.constant(String(NOW_SECONDS))), { nil: undefined }),
      signature: fc.option(signature, { nil: undefined }),
      id: fc.option(text, { nil: undefined }),
      body: fc.uint8Array({ maxLength: 20 }),
    }),
    check({ body, ...sent }) {
      const slack = { ...sent, secrets: SECRETS, nowSeconds: NOW_SECONDS }
      expect(
        slackHeaderError(slack) === undefined || slackSignatureError(slack, body),
        "a wrong signature of Slack's is good",
      )
      expect(slackSignatureError(slack, body), "a wrong signature of Slack's is good")
      standardWebhookHeaderError(slack)
      expect(standardWebhookError(slack, body), "a wrong signature of Standard Webhooks is good")
    },
  }),
}

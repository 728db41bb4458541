import fc from "fast-check"
import { FieldMapping } from "../../../src/bridges/kafka/mapping.ts"
import { mapMessages } from "../../../src/cli/kafka/records.ts"
import { SignalError } from "../../../src/client/api/errors.ts"
import { readAnswer } from "../../../src/client/http/answer.ts"
import { acceptedFormats } from "../../../src/client/http/compression.ts"
import { decodeLines, encodeLine } from "../../../src/client/spool/lines.ts"
import { translateQuery } from "../../../src/local/analytics/sql.ts"
import { RefusedQuery } from "../../../src/local/analytics/tokens.ts"
import { byRouteQuery, seriesQuery, totalsQuery } from "../../../src/metrics/queries.ts"
import { answer, kafkaBody } from "../../setup/fuzz/bodies.ts"
import { expect, refusing, type Suite, suite } from "../../setup/fuzz/check.ts"
import { edited, editedBytes } from "../../setup/fuzz/mutations.ts"
import { numberText, text } from "../../setup/fuzz/values.ts"

const SPAN = { since: 1_736_933_400, until: 1_736_937_000 }

const expression = fc.oneof(
  fc.constantFrom(
    "double1",
    "blob1",
    "timestamp",
    "now()",
    "_sample_interval",
    "'a'",
    "INTERVAL '1' DAY",
    "count()",
    "dataset",
  ),
  numberText,
  text.map((value) => `'${value}'`),
)
const chain = fc
  .tuple(
    fc.constantFrom(
      "1+",
      "1=1 AND ",
      "NOT ",
      "-",
      "(",
      "if(1=1,",
      "double1,",
      "abs(",
      "'a'=",
      "1 IN (",
      "'''' OR ",
    ),
    fc.constantFrom(3, 99, 101, 3000, 60_000),
  )
  .map(([text, times]) => text.repeat(times))

export const sqlText = edited(
  fc.oneof(
    fc.constantFrom(totalsQuery(SPAN), seriesQuery(SPAN, 60), byRouteQuery(SPAN)),
    fc
      .tuple(
        fc.array(expression, { minLength: 1, maxLength: 3 }),
        fc.constantFrom("", " WHERE 1 = 1", " GROUP BY dataset", " ORDER BY a LIMIT 3 FORMAT JSON"),
        fc.oneof({ weight: 4, arbitrary: fc.constant("") }, { weight: 1, arbitrary: chain }),
      )
      .map(
        ([items, end, more]) => `SELECT ${more}${items.join(", ")} AS a FROM signal_ingest_requests${end}`,
      ),
  ),
)

const entry = fc.oneof(
  fc.record({
    sequence: fc.nat(),
    signal: fc.record({ context_window_id: text, payload: fc.object() }).map((one) => JSON.stringify(one)),
  }),
  fc.record({ cut: text, ranges: fc.array(fc.tuple(fc.nat(), fc.nat())), count: fc.nat() }),
  fc.record({ done: text, ranges: fc.array(fc.tuple(fc.nat(), fc.nat())) }),
)

const MAPPING = FieldMapping.parse({ conversation: ["$key", "$headers.room", "room"] })
const bytes = fc.option(editedBytes(edited(kafkaBody).map((sent) => new TextEncoder().encode(sent))), {
  nil: undefined,
})

export const CLIENT_SUITES: Record<string, Suite> = {
  answers: suite({
    inputs: fc.record({
      sent: edited(answer),
      status: fc.constantFrom(200, 201, 202, 400, 401, 404, 408, 413, 415, 422, 429, 500, 501, 503),
      retryAfter: fc.option(
        fc.oneof(fc.constantFrom("2", "Wed, 21 Oct 2026 07:28:00 GMT", "9".repeat(400)), text),
      ),
    }),
    async check({ sent, status, retryAfter }) {
      const headers: Record<string, string> = retryAfter
        ? { "Retry-After": retryAfter.replace(/[^\x20-\x7e]/g, "?") }
        : {}
      const failed = await readAnswer(new Response(sent, { status, headers }), {
        maxBytes: 1_000_000,
        isExpected: () => true,
      }).then(
        () => undefined,
        (error: unknown) => error,
      )
      if (failed !== undefined) expect(failed instanceof SignalError, `reading an answer throws ${failed}`)
      else expect(status < 300, `status ${status} is read as a success`)
    },
  }),
  acceptEncoding: suite({
    inputs: edited(fc.oneof(fc.constant("zstd, gzip;q=0.5, *;q=0"), text)),
    check: (sent) => void acceptedFormats(sent),
  }),
  spool: suite({
    inputs: fc.array(entry, { maxLength: 4 }).chain((entries) => {
      const written = new Uint8Array(
        Buffer.concat(entries.map((one) => encodeLine(one as Parameters<typeof encodeLine>[0]))),
      )
      return fc.record({
        entries: fc.constant(entries),
        written: fc.constant(written),
        damaged: editedBytes(fc.constant(written)),
      })
    }),
    check({ entries, written, damaged }) {
      const read = decodeLines("a", Buffer.from(written))
      expect(
        read.damaged.length === 0 && read.entries.length === entries.length,
        "lines that were written are not read again",
      )
      expect(
        JSON.stringify(read.entries.map(({ from, to, ...one }) => one)) === JSON.stringify(entries),
        "a line changes when it is read again",
      )
      decodeLines("a", Buffer.from(damaged))
    },
  }),
  kafkaMessages: suite({
    inputs: fc.record({
      value: bytes,
      key: bytes,
      name: editedBytes(fc.constant(new TextEncoder().encode("room"))),
      header: bytes,
    }),
    check({ value, key, name, header }) {
      const buffer = (one: Uint8Array | undefined) => (one === undefined ? undefined : Buffer.from(one))
      const message = {
        topic: "chat",
        partition: 0,
        offset: 1n,
        timestamp: 1_736_933_400_000n,
        key: buffer(key),
        value: buffer(value),
        headerEntries: [[Buffer.from(name), buffer(header)]],
      }
      JSON.stringify(
        mapMessages([message as unknown as Parameters<typeof mapMessages>[0][number]], MAPPING, "main"),
      )
    },
  }),
  analytics: suite({
    inputs: sqlText,
    check(sent) {
      const made = refusing(() => translateQuery(sent), RefusedQuery)
      // Texts of a query are parameters: none becomes text of Postgres' SQL.
      const texts = [...sent.matchAll(/'([^'\\]{6,})'/g)]
        .map(([, one = ""]) => one)
        .filter((one) => /[^\w ]/.test(one))
      if (made) for (const one of texts) expect(!made.text.includes(one), `the text ${one} is in the SQL`)
    },
  }),
}

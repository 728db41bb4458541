import { gzipSync } from "node:zlib"

const MIB = 1024 * 1024
const JSON_TYPE = { "Content-Type": "application/json" }

/** What is sent at once, and how often. */
export interface Attack {
  path: string
  headers?: Record<string, string>
  body: string | Buffer
  times: number
}

const signals = (count: number, bytes: number, text = "x") =>
  JSON.stringify({
    signals: Array.from({ length: count }, (_, index) => ({
      context_window_id: `attack-${index % 50}`,
      raw_content: text.repeat(Math.max(0, Math.floor((bytes - 54) / text.length))),
    })),
  })
const batches = (body: string, times: number): Attack => ({
  path: "/api/signals/batch",
  headers: JSON_TYPE,
  body,
  times,
})
const records = (body: string | Buffer, headers: Record<string, string> = JSON_TYPE, times = 1): Attack => ({
  path: "/webhooks/kafka",
  headers,
  body,
  times,
})
const single = (body: string): Attack => ({ path: "/api/signals", headers: JSON_TYPE, body, times: 1 })
/** A few KB on the wire. */
const gzipped = ({ headers, body, ...attack }: Attack): Attack => ({
  ...attack,
  headers: { ...headers, "Content-Encoding": "gzip" },
  body: gzipSync(body),
})
const base64 = (text: string) => Buffer.from(text).toString("base64")
/** The envelope of a Kafka REST proxy, whose keys and values are base64. */
const BASE64_TYPE = { "Content-Type": "application/vnd.kafka.binary.v2+json" }
const repeat = (item: string, count: number) => Array(count).fill(item).join()
const list = (item: string, bytes: number) =>
  `[${Array(Math.floor(bytes / (item.length + 1)))
    .fill(item)
    .join()}]`
const nested = (open: string, inner: string, close: string, levels: number) =>
  open.repeat(levels) + inner + close.repeat(levels)

/**
 * More at once than fits into an isolate. Each has ended the process of a service that reads what it gets.
 */
export const LOADS: Record<string, () => Attack> = {
  "8 batches of 10,000 signals": () => batches(signals(10_000, 440), 8),
  "4 bodies of 8 MiB": () => batches(signals(10_000, 820), 4),
  "20 bodies of 8 MiB": () => batches(signals(10_000, 820), 20),
  "20 bodies of 8 MiB, with a character that doubles a text in memory": () =>
    batches(signals(10_000, 680, "xxxxxxxxx\u{1F600}"), 20),
  "20 batches of 10,000 signals of 60 bytes": () => batches(signals(10_000, 60), 20),
  "200 batches of 500 signals": () => batches(signals(500, 450), 200),
  "1,000 callers with 500 signals each": () => batches(signals(500, 450), 1000),
  "20 gzipped bodies of 8 MiB": () => {
    const body = gzipSync(signals(10_000, 820))
    return {
      path: "/api/signals/batch",
      headers: { ...JSON_TYPE, "Content-Encoding": "gzip" },
      body,
      times: 20,
    }
  },
}

/** One request each, made to cost more than it weighs. */
export const BODIES: Record<string, () => Attack> = {
  "2.8 million records": () => records(`{"records":${list("{}", 8 * MIB - 100)}}`),
  "2.8 million records, gzipped": () =>
    records(gzipSync(`{"records":${list("{}", 8 * MIB - 100)}}`), {
      ...JSON_TYPE,
      "Content-Encoding": "gzip",
    }),
  "2.8 million lines of NDJSON": () =>
    records("{}\n".repeat(2_700_000), { "Content-Type": "application/x-ndjson" }),
  "4 million lines of text": () => records("x\n".repeat(4 * MIB - 10), { "Content-Type": "text/plain" }),
  "a text of 4 million backslashes": () => records(`["${"\\\\".repeat(4 * MIB - 10)}"]`),
  "lines of control characters": () =>
    records(`${"\x01".repeat(830)}\n`.repeat(9990), { "Content-Type": "application/x-ndjson" }),
  "numbers that JSON writes with 21 digits": () => records(`[[${Array(1_500_000).fill("1e20").join()}]]`),
  "4 million opening brackets": () => batches(nested("[", "", "]", 4 * MIB - 10), 1),
  "4 million opening brackets as a record": () => records(nested("[", "", "]", 4 * MIB - 10)),
  "a payload of empty arrays": () =>
    single(`{"context_window_id":"a","payload":{"a":${list("[]", 8 * MIB - 100)}}}`),
  "objects of many names": () =>
    single(
      `{"context_window_id":"a","b":{${Array.from({ length: 600_000 }, (_, index) => `"k${index}":1`).join()}}}`,
    ),
  "numbers of 20 digits": () =>
    single(`{"context_window_id":"a","b":${list("12345678901234567890", 4 * MIB)}}`),
  "a CloudEvent of 100,000 levels": () =>
    records(`{"specversion":"1.0","id":"1","source":"s","type":"t","data":${nested("[", "", "]", 100_000)}}`),
  "a CloudEvent of 100,000 levels in base64": () => {
    const data = Buffer.from(nested("[", "", "]", 100_000)).toString("base64")
    return records(`{"specversion":"1.0","id":"2","source":"s","type":"t","data_base64":"${data}"}`)
  },
  "140,000 validation errors": () =>
    batches(
      `{"signals":${list(`{"context_window_id":1,"raw_content":1,"signal_source":1,"signal_score":"","emotional_tone":"","escalate_flag":"","agent_id":1,"user_id":1,"payload":1,"relationship_context":1,"diagnostic_notes":1,"dedupe_key":1,"timestamp":{},"signal_vector":1}`, 2_300_000)}}`,
      1,
    ),
  "numbers that Postgres prints with 131,072 digits": () =>
    single(`{"context_window_id":"a","payload":{"a":${list("1e131071", 9 * 600)}}}`),
  "1.2 million numbers too large for a double": () =>
    gzipped(single(`{"context_window_id":"a","b":${list("1e999", 6 * MIB)}}`)),
  "1.3 million numbers too small for a double": () =>
    single(`{"context_window_id":"a","b":${list("1e-400", 8 * MIB - 100)}}`),
  "600,000 names with a number too large for a double": () =>
    single(
      `{"context_window_id":"a","payload":{${Array.from({ length: 500_000 }, (_, index) => `"${index}":1e999`).join()}}}`,
    ),
  "1.3 million numbers too large for a double, as a record": () =>
    gzipped(records(list("1e999", 8 * MIB - 100))),
  "lines of 1,000 numbers too large for a double": () =>
    records(`${list("1e999", 6000)}\n`.repeat(1390), { "Content-Type": "application/x-ndjson" }),
  "signals of 1,000 numbers too large for a double": () =>
    batches(
      `{"signals":${list(`{"context_window_id":"a","payload":{"a":${list("1e999", 6000)}}}`, 8 * MIB - 100)}}`,
      1,
    ),
  "lines of signals of 1,000 numbers too large for a double": () => ({
    path: "/api/signals/batch",
    headers: { "Content-Type": "application/x-ndjson", Prefer: "handling=lenient" },
    body: `{"context_window_id":"a","payload":{"a":${list("1e999", 6000)}}}\n`.repeat(1380),
    times: 1,
  }),
  "numbers of 17 digits that a double rounds": () =>
    single(`{"context_window_id":"a","b":${list("0.12345678901234567", 8 * MIB - 100)}}`),
  "a CloudEvent of 2 million empty arrays in base64": () =>
    records(
      `{"specversion":"1.0","id":"3","source":"s","type":"t","data_base64":"${base64(list("[]", 6 * MIB - 200))}"}`,
    ),
  "a CloudEvent of a million numbers too large for a double in base64": () =>
    records(
      `{"specversion":"1.0","id":"4","source":"s","type":"t","data_base64":"${base64(list("1e999", 6 * MIB - 200))}"}`,
    ),
  "20 records of 100,000 empty objects in base64": () =>
    records(`{"records":[${repeat(`{"value":"${base64(list("{}", 300_000))}"}`, 20)}]}`, BASE64_TYPE),
  "100 records of 9,000 numbers too large for a double in base64": () =>
    records(`{"records":[${repeat(`{"value":"${base64(list("1e999", 54_000))}"}`, 100)}]}`, BASE64_TYPE),
  "payloads of Fluent Bit with 100,000 empty arrays": () =>
    records(
      `[${repeat(JSON.stringify({ topic: "t", partition: 0, offset: 1, payload: list("[]", 300_000) }), 26)}]`,
    ),
  "9,000 records of 450 escaped quotation marks": () =>
    records(`[${repeat(`{"a":"${'\\"'.repeat(450)}"}`, 9000)}]`),
  "5,000 records of 800 escaped quotation marks": () =>
    records(`[${repeat(`{"a":"${'\\"'.repeat(800)}"}`, 5000)}]`),
  "9,500 records of 400 escaped backslashes": () =>
    records(`[${repeat(`{"context_window_id":1,"raw_content":"${"\\\\".repeat(400)}"}`, 9500)}]`),
  "a number of 20 digits beside 100,000 levels": () =>
    batches(
      `{"signals":[{"context_window_id":"a","payload":{"n":12345678901234567890}},{"context_window_id":"a","payload":${nested('{"a":', "1", "}", 100_000)}}]}`,
      1,
    ),
}

export interface Answer {
  status: number
  retryAfter: string | null
}

/** Sends an attack, and gives every answer; 0 for a connection that ended without one. */
export async function attack(address: string, { path, headers, body, times }: Attack): Promise<Answer[]> {
  const once = async (): Promise<Answer> => {
    try {
      const response = await fetch(`${address}${path}`, {
        method: "POST",
        body: body as BodyInit,
        headers: headers ?? {},
      })
      await response.arrayBuffer()
      return { status: response.status, retryAfter: response.headers.get("Retry-After") }
    } catch {
      return { status: 0, retryAfter: null }
    }
  }
  return await Promise.all(Array.from({ length: times }, once))
}

/**
 * The answers that an attack must not get: none at all, and an error of the service but a refusal that says
 * when to come back.
 */
export const wrongAnswers = (answers: readonly Answer[]) =>
  answers.filter(
    ({ status, retryAfter }) => status === 0 || (status >= 500 && !(status === 503 && retryAfter !== null)),
  )

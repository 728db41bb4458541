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
    signals: Array.from({ length: count }, (_, place) => ({
      context_window_id: `attack-${place % 50}`,
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
      `{"context_window_id":"a","b":{${Array.from({ length: 600_000 }, (_, place) => `"k${place}":1`).join()}}}`,
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

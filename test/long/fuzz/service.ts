import { createHmac } from "node:crypto"
import { Agent, request } from "node:http"
import { brotliCompressSync, deflateSync, gzipSync, zstdCompressSync } from "node:zlib"
import fc from "fast-check"
import {
  batch,
  erasure,
  KAFKA_TYPES,
  kafkaBody,
  ndjson,
  signal,
  slackEvent,
} from "../../setup/fuzz/bodies.ts"
import { edited, editedBytes } from "../../setup/fuzz/mutations.ts"
import { jsonText, numberText, text } from "../../setup/fuzz/values.ts"
import { signedRequest } from "../../setup/slack.ts"

export const WEBHOOK_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

export interface Sent {
  method: string
  path: string
  headers: Record<string, string>
  body?: Uint8Array
}

export interface Answered {
  status: number
  headers: Record<string, string | string[] | undefined>
  text: string
}

const agent = new Agent({ keepAlive: true, maxSockets: 32 })

/** Sends a request byte for byte, and reads its answer. */
export function ask(address: string, { method, path, headers, body }: Sent): Promise<Answered> {
  return new Promise((resolve, reject) => {
    const sent = request(
      address + path,
      { agent, method, headers: { ...headers, "Content-Length": body?.length ?? 0 } },
      (response) => {
        const chunks: Buffer[] = []
        response.on("data", (chunk: Buffer) => chunks.push(chunk))
        response.on("error", reject)
        response.on("end", () =>
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            text: Buffer.concat(chunks).toString(),
          }),
        )
      },
    )
    sent.on("error", reject)
    sent.end(body)
  })
}

/** What may stand in a header, and what may stand in an address. */
const headerText = edited(text).map((value) =>
  value.replaceAll(/[^\t\x20-\x7e\x80-\xff]/g, "?").slice(0, 2000),
)
const addressText = edited(text).map((value) => encodeURIComponent(value.toWellFormed()).slice(0, 2000))
const rawAddressText = edited(fc.constantFrom("%00", "%", "%E0%A4", "a+b", "1%2C2", "..%2f", "a=b&a=c")).map(
  (value) => value.replaceAll(/[^\x21-\x7e]|#/g, "?").slice(0, 2000),
)

const orHostile = (...values: string[]) =>
  fc.oneof({ weight: 5, arbitrary: fc.constantFrom(...values) }, { weight: 1, arbitrary: headerText })

const HEADERS: Record<string, fc.Arbitrary<string>> = {
  Prefer: orHostile(
    "return=minimal",
    "handling=lenient",
    "respond-async",
    "handling=lenient, return=minimal",
  ),
  "Idempotency-Key": orHostile("key-1", "key-2", "key-3"),
  traceparent: orHostile("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
  "X-Request-Id": headerText,
  Authorization: headerText,
  Origin: orHostile("https://evil.example"),
  "Sec-Fetch-Site": orHostile("none", "same-origin", "cross-site"),
}

/** At most two of them, so that most requests reach their route. */
const optionalHeaders = fc
  .array(
    fc.oneof(
      ...Object.entries(HEADERS).map(([name, value]) => value.map((one): [string, string] => [name, one])),
    ),
    {
      maxLength: 2,
    },
  )
  .map((some) => Object.fromEntries(some))

const COMPRESS = { gzip: gzipSync, deflate: deflateSync, br: brotliCompressSync, zstd: zstdCompressSync }

const CODINGS = Object.keys(COMPRESS) as (keyof typeof COMPRESS)[]

interface Coded {
  body: Uint8Array
  coding: Record<string, string>
}

/** A body as it is or packed, now and then damaged or under a name that is not its own. */
const coded = (sent: fc.Arbitrary<string>): fc.Arbitrary<Coded> =>
  fc
    .tuple(sent, fc.option(fc.constantFrom(...CODINGS), { freq: 4 }), fc.boolean())
    .chain(([one, coding, isWhole]): fc.Arbitrary<Coded> => {
      if (coding === null) return fc.constant({ body: new Uint8Array(Buffer.from(one)), coding: {} })
      const bytes = fc.constant(new Uint8Array(COMPRESS[coding](one)))
      const name = isWhole ? fc.constant(coding) : fc.oneof(fc.constant(coding), orHostile(...CODINGS))
      return fc.record({
        body: isWhole ? bytes : editedBytes(bytes),
        coding: name.map((header) => ({ "Content-Encoding": header })),
      })
    })

const writing = (
  path: fc.Arbitrary<string>,
  type: fc.Arbitrary<string>,
  sent: fc.Arbitrary<string>,
): fc.Arbitrary<Sent> =>
  fc
    .tuple(path, type, coded(edited(sent)), optionalHeaders)
    .map(([where, contentType, { body, coding }, headers]) => ({
      method: "POST",
      path: where,
      headers: { ...headers, ...coding, ...(contentType && { "Content-Type": contentType }) },
      body,
    }))

const JSON_TYPE = orHostile(
  "application/json",
  "application/json; charset=utf-8",
  "",
  "application/x-www-form-urlencoded",
)
const NDJSON_TYPE = orHostile("application/x-ndjson", "application/jsonl")
const allOrNothing = fc.constantFrom("", "", "?fail_on_error=true", "?fail_on_error=maybe")

function slackRequest(sent: string): Sent {
  const { headers, body } = signedRequest(Buffer.from(sent))
  return { method: "POST", path: "/webhooks/slack", headers, body }
}

function signedWebhook({ headers, body = new Uint8Array(), ...sent }: Sent): Sent {
  const timestamp = String(Math.floor(Date.now() / 1000))
  const key = Buffer.from(WEBHOOK_SECRET.slice("whsec_".length), "base64")
  const signature = createHmac("sha256", key).update(`msg-1.${timestamp}.`).update(body).digest("base64")
  const proof = {
    "webhook-id": "msg-1",
    "webhook-timestamp": timestamp,
    "webhook-signature": `v1,${signature}`,
  }
  return { ...sent, body, headers: { ...headers, ...proof } }
}

const kafkaRequest = writing(
  fc.constantFrom("", "?cluster=main").map((query) => `/webhooks/kafka${query}`),
  orHostile(...KAFKA_TYPES),
  kafkaBody,
)

/** Requests that store something when they are good. */
export const writes: fc.Arbitrary<Sent> = fc.oneof(
  {
    weight: 4,
    arbitrary: writing(
      allOrNothing.map((query) => `/api/signals/batch${query}`),
      JSON_TYPE,
      batch,
    ),
  },
  {
    weight: 2,
    arbitrary: writing(
      allOrNothing.map((query) => `/api/signals/batch${query}`),
      NDJSON_TYPE,
      ndjson,
    ),
  },
  { weight: 2, arbitrary: writing(fc.constant("/api/signals"), JSON_TYPE, signal) },
  { weight: 2, arbitrary: edited(slackEvent).map(slackRequest) },
  { weight: 3, arbitrary: kafkaRequest },
  { weight: 1, arbitrary: kafkaRequest.map(signedWebhook) },
)

const ROUTES = [
  ..."/healthz /readyz /metrics /api/metrics /api/storage /api/signals /api/signals/stats /api/signals/feed /api/signals/export".split(
    " ",
  ),
  ..."/api/signals/1 /api/batches /api/batches/0195f2f4-0000-7000-8000-000000000000 /api/dead-letters /api/dead-letters/1".split(
    " ",
  ),
  ..."/api/erasures /api/erasures/0195f2f4-0000-7000-8000-000000000000 /webhooks/slack /webhooks/kafka /api/signals/batch".split(
    " ",
  ),
]

/** The last part of a path is replaced now and then. */
const path = fc
  .tuple(fc.constantFrom(...ROUTES), fc.option(fc.oneof(addressText, rawAddressText), { freq: 4 }))
  .map(([route, last]) => (last === null ? route : route.replace(/[^/]*$/, last)))

const NAMES = [
  ..."context_window_id signal_source user_id agent_id escalate_flag min_score max_score since until limit cursor q payload.a payload.a..b payload.a\\\\.b".split(
    " ",
  ),
  ..."state source transaction_id ids after window fail_on_error cluster format".split(" "),
]
const value = fc.oneof(
  addressText,
  rawAddressText,
  numberText.map(encodeURIComponent),
  fc.constantFrom(
    "now",
    "waiting",
    "24h",
    "csv",
    "WyIyMDI1LTAxLTE1VDA5OjMwOjAwLjAwMDAwMFoiLDFd",
    "2025-01-15T09:30:00+02:00",
  ),
  jsonText.map((sent) => Buffer.from(sent).toString("base64url").slice(0, 2000)),
)
const query = fc
  .array(fc.tuple(fc.constantFrom(...NAMES), value), { maxLength: 3 })
  .map((pairs) => (pairs.length === 0 ? "" : `?${pairs.map((pair) => pair.join("=")).join("&")}`))

/** Every route and method with every parameter, and what erases and replays. */
export const reads: fc.Arbitrary<Sent> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc
      .tuple(
        fc.constantFrom("GET", "GET", "GET", "GET", "HEAD", "POST", "DELETE", "PUT", "OPTIONS", "PATCH"),
        path,
        query,
        optionalHeaders,
      )
      .map(([method, where, asked, headers]) => ({ method, path: where + asked, headers })),
  },
  { weight: 1, arbitrary: writing(fc.constant("/api/erasures"), JSON_TYPE, erasure) },
  {
    weight: 1,
    arbitrary: fc
      .tuple(fc.constantFrom("/api/dead-letters/replay", "/api/dead-letters/1/replay"), query)
      .map(([where, asked]) => ({
        method: "POST",
        path: where + asked,
        headers: {},
      })),
  },
)

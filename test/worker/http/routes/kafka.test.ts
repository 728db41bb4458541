import { createExecutionContext, waitOnExecutionContext } from "cloudflare:test"
import { Webhook } from "standardwebhooks"
import { describe, expect, it } from "vitest"
import { app } from "../../../../src/app.ts"
import type { Bindings } from "../../../../src/bindings.ts"
import type { DataPoint } from "../../../../src/metrics/points.ts"
import { consume } from "../../consumer/messages.ts"
import { bindings, countOf, freshConversation, query, TOO_LONG_FOR_POSTGRES } from "../../service.ts"

const WEBHOOK_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
const UNREACHABLE = { DATABASE_HTTP_ENDPOINT: "http://127.0.0.1:9/sql", DATABASE_DEADLINE_MS: "200" }
const WITHOUT_QUEUE = { QUEUE: undefined } as unknown as Bindings

interface Options {
  path?: string
  headers?: Record<string, string>
  changed?: Partial<Bindings>
}

/**
 * Sends as a sink does. Also returns the messages and data points that the service sends; none is delivered.
 */
async function post(body: unknown, { path = "/webhooks/kafka", headers = {}, changed = {} }: Options = {}) {
  const queued: string[] = []
  const points: DataPoint[] = []
  const QUEUE = { send: async (content: string) => void queued.push(content) } as unknown as Queue
  const METRICS = { writeDataPoint: (point: DataPoint) => void points.push(point) }
  const context = createExecutionContext()
  const content = typeof body === "string" || body instanceof Uint8Array ? body : JSON.stringify(body)
  const init = {
    method: "POST",
    body: content as BodyInit,
    headers: { "Content-Type": "application/json", ...headers },
  }
  const response = await app.request(path, init, { ...bindings, QUEUE, METRICS, ...changed }, context)
  await waitOnExecutionContext(context)
  return { response, answer: (await response.json()) as Record<string, unknown>, queued, point: points[0] }
}

/** A message without the ids and times of its request. */
const withoutIds = (message: string) =>
  message.replace(/[\da-f]{8}-[\da-f-]{27}/g, "id").replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, "time")

const signal = (conversation: string, more: object = {}) => ({ context_window_id: conversation, ...more })

describe("POST /webhooks/kafka", () => {
  it("stores signals at once though a skipped record is between them", async () => {
    const conversation = freshConversation()
    const value = { value: signal(conversation) }
    const { response, answer } = await post(
      { records: [{ value: null }, value, { value: null }, value, { value: signal(" ") }] },
      { changed: WITHOUT_QUEUE },
    )
    expect([response.status, answer.total_count, answer.accepted_count]).toEqual([200, 3, 2])
    expect(await countOf(conversation)).toBe(2)
  })

  it("acknowledges records when the queue has them, while the database cannot be reached, and lists each failure at its index", async () => {
    const conversation = freshConversation()
    const records = [
      { value: signal(conversation) },
      { value: null },
      { value: { text: "nowhere to go" } },
      { value: signal(conversation, { signal_score: 2 }) },
      { key: conversation, value: { text: "mapped" } },
    ]
    const { response, answer, queued, point } = await post({ records }, { changed: UNREACHABLE })
    expect(response.status).toBe(200)
    const failures = [
      {
        index: 2,
        error: "the record has no conversation: $key or $subject must be text or a number",
        code: "unreadable_record",
        retryable: false,
      },
      {
        index: 3,
        error: "signal_score must be between 0 and 1",
        code: "out_of_range",
        field: "signal_score",
        retryable: false,
      },
    ]
    expect(answer).toEqual({
      state: "queued",
      total_count: 4,
      accepted_count: 2,
      failed_count: 2,
      failures,
      skipped: { tombstone: 1 },
      transaction_id: expect.any(String),
    })
    expect(point?.blobs.slice(0, 4)).toEqual(["POST /webhooks/kafka", "delivery", "partly_stored", "200"])
    await consume(queued)
    await consume(queued)
    expect(await countOf(conversation)).toBe(2)
    const deadLetters = await query(
      "select index, reason as error, code, field from dead_letters where transaction_id = $1 order by index",
      [answer.transaction_id],
    )
    expect(deadLetters).toEqual(
      failures.map(({ index, error, code, field = null }) => ({ index, error, code, field })),
    )
  })

  it("stores once a record that its sink sends again", async () => {
    const conversation = freshConversation()
    const body = { records: [{ topic: conversation, partition: 0, offset: 1, value: signal(conversation) }] }
    const all = await Promise.all([post(body), post(body), post(body)])
    await consume(all.flatMap(({ queued }) => queued))
    expect(await countOf(conversation)).toBe(1)
    // The same position in another cluster is another record.
    const { queued } = await post(body, { path: "/webhooks/kafka?cluster=eu" })
    await consume(queued)
    expect(await countOf(conversation)).toBe(2)
  })

  it.each([
    ["%00", "value_error"],
    ["x".repeat(101), "string_too_long"],
  ])("refuses a name of the cluster that no dedupe key can hold: %s", async (cluster, type) => {
    const { response, answer } = await post([signal(freshConversation())], {
      path: `/webhooks/kafka?cluster=${cluster}`,
    })
    expect([response.status, answer]).toMatchObject([422, { detail: [{ type, loc: ["query", "cluster"] }] }])
  })

  it("writes directly to the database without a queue", async () => {
    const conversation = freshConversation()
    const body = [signal(conversation), signal(conversation, { payload: { n: 1 } }), { no: "conversation" }]
    const { response, answer } = await post(body, { changed: WITHOUT_QUEUE })
    expect([response.status, answer.state, answer.accepted_count]).toEqual([200, "stored", 2])
    expect(await countOf(conversation)).toBe(2)
    expect(
      await query("select reason from dead_letters where transaction_id = $1", [answer.transaction_id]),
    ).toHaveLength(1)
  })

  it("lists the signals that only the database refuses, when it writes directly", async () => {
    const conversation = freshConversation()
    const { answer } = await post(
      `[{"context_window_id": "${conversation}", "payload": {"n": ${TOO_LONG_FOR_POSTGRES}}}, {"context_window_id": "${conversation}"}]`,
      {
        changed: WITHOUT_QUEUE,
      },
    )
    expect(answer).toMatchObject({
      state: "stored",
      accepted_count: 1,
      failed_count: 1,
      failures: [{ index: 0 }],
    })
    expect(await countOf(conversation)).toBe(1)
  })

  it("asks the sink to retry when neither queue nor database accepts them", async () => {
    const { response } = await post(signal(freshConversation()), {
      changed: { ...UNREACHABLE, ...WITHOUT_QUEUE },
    })
    expect([response.status, response.headers.get("Retry-After")]).toEqual([503, "2"])
  })

  it("keeps a delivery too large for a message in the bucket", async () => {
    const conversation = freshConversation()
    const many = Array.from({ length: 500 }, (_, index) =>
      signal(conversation, { raw_content: `${index} ${"x".repeat(400)}` }),
    )
    const { answer, queued } = await post(many)
    expect([answer.state, answer.accepted_count]).toEqual(["queued", 500])
    expect(queued.map((text) => text.length < 1000)).toEqual([true])
    await consume(queued)
    expect(await countOf(conversation)).toBe(500)
  })

  it("reads gzip, and keeps a body that is not UTF-8 as a dead letter", async () => {
    const conversation = freshConversation()
    const packed = new Response(
      new Blob([JSON.stringify(signal(conversation))]).stream().pipeThrough(new CompressionStream("gzip")),
    )
    const { answer } = await post(new Uint8Array(await packed.arrayBuffer()), {
      headers: { "Content-Encoding": "gzip" },
    })
    expect(answer).toMatchObject({ accepted_count: 1 })
    const bad = await post(new Uint8Array([0xff, 0xfe]))
    expect(bad.answer).toMatchObject({
      failed_count: 1,
      failures: [{ index: 0, error: "the body is not UTF-8" }],
    })
  })

  it("reads a sink's empty body as a tombstone", async () => {
    const { response, answer, queued } = await post("")
    expect([response.status, answer.state, answer.skipped, queued]).toEqual([
      200,
      "skipped",
      { tombstone: 1 },
      [],
    ])
  })

  it("maps by the setting", async () => {
    const conversation = freshConversation()
    const changed = { KAFKA_FIELD_MAPPING: '{"conversation": "room", "text": "body"}', ...WITHOUT_QUEUE }
    await post({ room: conversation, body: "Hello" }, { changed })
    const rows = await query("select raw_content, signal_source from signals where context_window_id = $1", [
      conversation,
    ])
    expect(rows).toEqual([{ raw_content: "Hello", signal_source: "Kafka" }])
  })

  it.each([
    [
      "415 to a content type that is not read",
      415,
      "",
      { "Content-Type": "application/vnd.kafka.avro.v2" },
      {},
    ],
    ["413 to more records than a batch may hold", 413, "[1, 2, 3]", {}, { MAX_SIGNALS: "2" }],
    [
      "429 to an address over its rate",
      429,
      "1",
      {},
      { ADDRESS_RATE_LIMITER: { limit: async () => ({ success: false }) } },
    ],
    ["503 when the mapping is wrong", 503, "1", {}, { KAFKA_FIELD_MAPPING: '{"room": "a"}' }],
  ])("answers %s, and keeps nothing", async (_, status, body, headers, changed) => {
    const { response, answer, queued } = await post(body, { headers, changed })
    expect([response.status, typeof answer.detail, queued]).toEqual([status, "string", []])
  })
})

describe("the sender of records", () => {
  const KEY = "the-key-of-the-bridge"
  const closed = async (scopes: string[]) => {
    const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(KEY))
    const API_KEYS = JSON.stringify([{ name: "bridge", sha256: new Uint8Array(digest).toHex(), scopes }])
    return { OPEN_ACCESS: "false", API_KEYS, WEBHOOK_SECRET }
  }
  const signed = (body: string, secret = WEBHOOK_SECRET) => ({
    "webhook-id": "msg_1",
    "webhook-timestamp": String(Math.floor(Date.now() / 1000)),
    "webhook-signature": new Webhook(secret).sign("msg_1", new Date(), body),
  })

  it("is accepted by a key with the scope ingest", async () => {
    const headers = { Authorization: `Bearer ${KEY}` }
    expect((await post(signal("c"), { headers, changed: await closed(["ingest"]) })).response.status).toBe(
      200,
    )
    expect((await post(signal("c"), { headers, changed: await closed(["read"]) })).response.status).toBe(403)
    expect((await post(signal("c"), { changed: await closed(["ingest"]) })).response.status).toBe(401)
  })

  it("is accepted by a Standard Webhooks signature, whose id identifies a record", async () => {
    const conversation = freshConversation()
    const body = JSON.stringify(signal(conversation))
    const changed = await closed(["ingest"])
    const first = await post(body, { headers: signed(body), changed })
    expect([first.response.status, first.point?.blobs[4]]).toEqual([200, "webhook:kafka"])
    expect(first.queued[0]).toContain("webhook:msg_1")
  })

  it.each<[string, string, Record<string, string>]>([
    ["another cluster", "?cluster=x", {}],
    ["an empty cluster", "?cluster=", {}],
    ["the attributes of a CloudEvent", "", { "ce-specversion": "1.0", "ce-id": "2", "ce-source": "/forged" }],
    ["such attributes and an empty version", "", { "ce-specversion": "", "ce-id": "2" }],
    ["a media type whose values are base64", "", { "Content-Type": "application/vnd.kafka.binary.v2+json" }],
    ["a media type of REST proxies", "", { "Content-Type": "application/vnd.kafka.json.v2+json" }],
  ])("cannot send a signed call with %s", async (_, search, headers) => {
    const body = JSON.stringify({ records: [{ topic: "t", partition: 0, offset: 7, value: "dg==" }] })
    const { response, queued } = await post(body, {
      path: `/webhooks/kafka${search}`,
      headers: { ...signed(body), ...headers },
      changed: await closed(["ingest"]),
    })
    expect([response.status >= 400 && response.status < 500, queued]).toEqual([true, []])
  })

  it.each<[string, string, Record<string, string>]>([
    ["a media type of lines", "", { "Content-Type": "application/x-ndjson" }],
    ["the media type of text", "", { "Content-Type": "text/plain" }],
    ["no media type", "", { "Content-Type": "" }],
    ["other query parameters", "?topic=x&partition=9&offset=9&dedupe_key=x", {}],
    ["headers of attributes without a version", "", { "ce-id": "2", "ce-source": "/forged" }],
    [
      "a structured media type and attributes",
      "",
      { "Content-Type": "application/cloudevents+json", "ce-specversion": "1.0", "ce-id": "2" },
    ],
    ["an Idempotency-Key", "", { "Idempotency-Key": "other" }],
    ["a preference", "", { Prefer: "handling=lenient, respond-async" }],
  ])("gives the same records under one signature with %s", async (_, search, headers) => {
    const conversation = freshConversation()
    const records = [1, 2].map((offset) => ({
      topic: "t",
      partition: 0,
      offset,
      value: signal(conversation),
    }))
    for (const value of [{ records }, records, [signal(conversation), 5], signal(conversation)])
      for (const body of [JSON.stringify(value), JSON.stringify(value, null, 1)]) {
        const sent = async (path: string, more: Record<string, string>) => {
          const { queued } = await post(body, {
            path,
            headers: { ...signed(body), ...more },
            changed: await closed(["ingest"]),
          })
          return queued.map(withoutIds)
        }
        const plain = await sent("/webhooks/kafka", {})
        expect([plain.length, await sent(`/webhooks/kafka${search}`, headers)]).toEqual([1, plain])
      }
  })

  it("is refused with a wrong signature, even with open access", async () => {
    const { response, answer, queued } = await post("{}", {
      headers: signed("{} "),
      changed: { WEBHOOK_SECRET, OPEN_ACCESS: "true" },
    })
    expect([response.status, queued]).toEqual([401, []])
    expect(answer.detail).toBe("webhook-signature is not that of this body under the secret.")
  })
})

import fc from "fast-check"
import { describe, expect, it } from "vitest"
import { FieldMapping, mapKafkaRecord } from "../../../../src/bridges/kafka/mapping.ts"
import { readKafkaRecords } from "../../../../src/bridges/kafka/requests.ts"
import { planDelivery } from "../../../../src/bridges/plan-delivery.ts"

const DEFAULTS = FieldMapping.parse({})

const read = (type: string, body: unknown, more: Record<string, string> = {}, cluster?: string) => {
  const text = typeof body === "string" ? body : JSON.stringify(body)
  return (
    readKafkaRecords({
      headers: new Headers({ "Content-Type": type, ...more }),
      text,
      cluster,
      maxRecords: 10_000,
    }) ?? []
  )
}
/** What a body becomes, each record by the mapping given. */
const deliver = (type: string, body: unknown, mapping: object = {}, more: Record<string, string> = {}) =>
  read(type, body, more).map((record) => mapKafkaRecord(record, FieldMapping.parse(mapping)))

const JSON_TYPE = "application/json"
const SIGNAL = { context_window_id: "conv-1", raw_content: "Hello" }

describe("a value that is a signal", () => {
  it.each([
    ["alone", JSON_TYPE, SIGNAL],
    ["in an array", JSON_TYPE, [SIGNAL]],
    ["on a line", "application/x-ndjson", `${JSON.stringify(SIGNAL)}\n`],
    ["in the batch route's own envelope", JSON_TYPE, { signals: [SIGNAL] }],
    ["in a REST proxy's envelope", "application/vnd.kafka.json.v2+json", { records: [{ value: SIGNAL }] }],
    ["in Kafka Connect's JSON with a schema", JSON_TYPE, { schema: { type: "struct" }, payload: SIGNAL }],
  ])("is accepted as a signal: %s", (_, type, body) =>
    expect(deliver(type, body)).toMatchObject([{ signal: SIGNAL }]),
  )

  it("keeps its own dedupe_key and time, or else gets those of the record", () => {
    const position = { topic: "chat", partition: 3, offset: 42, timestamp: 1_790_000_000_123 }
    const own = { ...SIGNAL, dedupe_key: "mine", timestamp: "2026-01-01T00:00:00Z" }
    const delivered = deliver(JSON_TYPE, {
      records: [
        { ...position, value: SIGNAL },
        { ...position, value: own },
      ],
    })
    expect(delivered).toMatchObject([
      { signal: { dedupe_key: "kafka:chat/3/42/1790000000123", timestamp: 1_790_000_000_123 } },
      { signal: own },
    ])
  })
})

describe("a value in base64 that is no text", () => {
  it.each(["12345678901234567890", "1234", '{"toString":1,"valueOf":1}', "[1]", "true"])(
    "is refused: %s",
    (value) =>
      expect(
        deliver("application/vnd.kafka.binary.v2+json", `{"records":[{"key":"a","value":${value}}]}`),
      ).toEqual([{ refused: "the value is not base64" }]),
  )
})

describe("any other value", () => {
  it("is mapped by the defaults: the key is the conversation, and the record the payload", () => {
    const record = {
      key: "room-7",
      value: { text: "Hello", who: "ann" },
      topic: "chat",
      partition: 0,
      offset: 9,
      timestamp: 1_790_000_000_123,
    }
    expect(deliver(JSON_TYPE, { records: [record] })).toEqual([
      {
        signal: {
          context_window_id: "room-7",
          raw_content: "Hello",
          signal_source: "Kafka",
          timestamp: 1_790_000_000_123,
          dedupe_key: "kafka:chat/0/9/1790000000123",
          payload: record,
        },
      },
    ])
  })

  it("is mapped by the setting, whose paths lead into the value or name parts of the record", () => {
    const mapping = {
      conversation: ["room.id", "$key"],
      text: "body.text",
      source: "$headers.app",
      time: "sent_at",
      score: "score",
      tone: "tone",
      user: "from.id",
      agent: "$topic",
      dedupe_key: "id",
    }
    const value = {
      id: 77,
      room: { id: 12 },
      body: { text: "Hi" },
      sent_at: "2026-01-01T00:00:00Z",
      score: 0.9,
      tone: 0.1,
      from: { id: "ann" },
    }
    expect(
      deliver(JSON_TYPE, { records: [{ value, headers: { app: "crm" }, topic: "chat" }] }, mapping),
    ).toMatchObject([
      {
        signal: {
          context_window_id: "12",
          raw_content: "Hi",
          signal_source: "crm",
          timestamp: "2026-01-01T00:00:00Z",
          signal_score: 0.9,
          emotional_tone: 0.1,
          user_id: "ann",
          agent_id: "chat",
          dedupe_key: "77",
        },
      },
    ])
  })

  it("can be a text, which becomes its content", () =>
    expect(deliver(JSON_TYPE, { records: [{ key: "room-7", value: "Hello" }] })).toMatchObject([
      { signal: { context_window_id: "room-7", raw_content: "Hello" } },
    ]))

  it("a record without a conversation is refused alone, by a sentence that names the paths", () => {
    const delivered = deliver(JSON_TYPE, [{ text: "Hello" }, SIGNAL, { text: "Hi", room: { id: {} } }], {
      conversation: ["room.id", "$key"],
    })
    expect(delivered).toMatchObject([
      { refused: "the record has no conversation: room.id or $key must be text or a number" },
      { signal: SIGNAL },
      { refused: "the record has no conversation: room.id or $key must be text or a number" },
    ])
  })

  it("keeps every digit of its numbers", () => {
    const [delivered] = deliver(
      JSON_TYPE,
      '{"records": [{"key": 12345678901234567890, "value": {"n": 1.10000000000000000001}}]}',
    )
    const { plan } = planDelivery(delivered ? [delivered] : [], "2026-01-01T00:00:00.000000Z")
    expect(plan.rows).toMatchObject([
      {
        contextWindowId: "12345678901234567890",
        payload: expect.stringContaining('"n":1.10000000000000000001'),
      },
    ])
  })

  it("has no time from Kafka when that is -1", () =>
    expect(deliver(JSON_TYPE, { records: [{ key: "k", value: "v", timestamp: -1 }] })).toMatchObject([
      { signal: { timestamp: undefined } },
    ]))
})

describe("a tombstone", () => {
  it.each([
    [
      "of a proxy's envelope",
      "application/vnd.kafka.json.v2+json",
      { records: [{ key: "room-7", value: null }] },
    ],
    ["of an envelope that leaves the value out", JSON_TYPE, { records: [{ key: "room-7" }] }],
    ["of a sink that sends null", JSON_TYPE, "null"],
    ["of a sink that sends nothing", JSON_TYPE, ""],
    ["in base64", "application/vnd.kafka.binary.v2+json", { records: [{ key: "a2V5", value: null }] }],
  ])("is skipped by that name: %s", (_, type, body) =>
    expect(deliver(type, body)).toEqual([{ skipped: "tombstone" }]),
  )

  it("the tombstone of a CloudEvent without data is skipped too", () => {
    const attributes = {
      "ce-specversion": "1.0",
      "ce-id": "partition:1/offset:2",
      "ce-source": "/kafka#chat",
      "ce-type": "dev.knative.kafka.event",
    }
    expect(deliver(JSON_TYPE, "", {}, attributes)).toEqual([{ skipped: "tombstone" }])
  })
})

describe("records as sinks send them", () => {
  it("can be only values joined by line breaks, with any content type (Aiven's connector)", () =>
    expect(
      deliver(JSON_TYPE, `${JSON.stringify(SIGNAL)}\n${JSON.stringify({ ...SIGNAL, raw_content: "Bye" })}`),
    ).toMatchObject([{ signal: { raw_content: "Hello" } }, { signal: { raw_content: "Bye" } }]))

  it("can be records of a consumer, in the format of REST proxies and the Strimzi bridge", () => {
    const records = [
      { topic: "chat", key: "room-7", value: { text: "one" }, partition: 0, offset: 0 },
      {
        topic: "chat",
        key: "room-7",
        value: { text: "two" },
        partition: 0,
        offset: 1,
        headers: [{ key: "h", value: "dg==" }],
        timestamp: 1_790_000_000_000,
      },
    ]
    expect(deliver("application/vnd.kafka.json.v2+json", records)).toMatchObject([
      { signal: { context_window_id: "room-7", raw_content: "one", dedupe_key: "kafka:chat/0/0" } },
      {
        signal: {
          raw_content: "two",
          dedupe_key: "kafka:chat/0/1/1790000000000",
          timestamp: 1_790_000_000_000,
        },
      },
    ])
  })

  it("can have keys and values in base64", () => {
    const base64 = (text: string) => btoa(text)
    const [good, text, bad, avro, broken] = deliver("application/vnd.kafka.binary.v2+json", {
      records: [
        { key: base64('"room-7"'), value: base64(JSON.stringify({ text: "Hello" })) },
        { key: base64("room-7"), value: base64("Hello, not JSON") },
        { key: base64("room-7"), value: "/w==" },
        { key: base64("room-7"), value: base64("\0\0\0\0\x07Hi") },
        { key: base64("room-7"), value: "%%%" },
      ],
    })
    expect(good).toMatchObject({ signal: { context_window_id: "room-7", raw_content: "Hello" } })
    expect(text).toMatchObject({ signal: { context_window_id: "room-7", raw_content: "Hello, not JSON" } })
    expect(bad).toEqual({ refused: "the value is not UTF-8 text" })
    expect(avro).toEqual({
      refused: expect.stringMatching(/^the value is in the wire format of a schema registry .*schema 7\)/),
    })
    expect(broken).toEqual({ refused: "the value is not base64" })
  })

  it("can name their topic once for all records", () =>
    expect(
      read(JSON_TYPE, { topic: "chat", records: [{ value: 1, partition: 2, offset: 3 }] }),
    ).toMatchObject([{ topic: "chat", identity: "kafka:chat/2/3" }]))

  it("fail alone when a line is not JSON", () =>
    expect(
      deliver("application/x-ndjson", `${JSON.stringify(SIGNAL)}\nnot JSON\n\n${JSON.stringify(SIGNAL)}`),
    ).toMatchObject([{ signal: SIGNAL }, { refused: "the line is not JSON" }, { signal: SIGNAL }]))

  it("are one dead letter when no part of the body is JSON, so that a sink stops sending it", () => {
    expect(deliver(JSON_TYPE, '{"context_window_id": ')).toEqual([{ refused: "the value is not JSON" }])
    expect(read(JSON_TYPE, '{"a": ')).toMatchObject([{ value: '{"a": ' }])
  })

  it("are undefined for an unknown content type", () => {
    for (const type of [
      "application/octet-stream",
      "application/vnd.kafka.avro.v2",
      "image/png",
      "application/xml",
    ])
      expect(
        readKafkaRecords({
          headers: new Headers({ "Content-Type": type }),
          text: "",
          cluster: undefined,
          maxRecords: 10_000,
        }),
      ).toBeUndefined()
  })
})

describe("whatever is sent", () => {
  it("becomes records, each of them a signal, a skip or a failure that can be listed and kept", () =>
    fc.assert(
      fc.property(
        fc.constantFrom(
          JSON_TYPE,
          "application/x-ndjson",
          "text/plain",
          "application/vnd.kafka.binary.v2+json",
          "application/cloudevents+json",
        ),
        fc.oneof(fc.json(), fc.string()),
        (type, text) => {
          const records =
            readKafkaRecords({
              headers: new Headers({ "Content-Type": type }),
              text,
              cluster: undefined,
              maxRecords: 10_000,
            }) ?? []
          const delivered = records.map((record) => mapKafkaRecord(record, DEFAULTS))
          const { plan, skipped } = planDelivery(delivered, "2026-01-01T00:00:00.000000Z")
          const skips = Object.values(skipped).reduce((sum, count) => sum + count, 0)
          expect(plan.rows.length + plan.failures.length + skips).toBe(records.length)
          // As a dead letter it is read again the same way.
          for (const record of records)
            expect(mapKafkaRecord(JSON.parse(JSON.stringify(record)), DEFAULTS)).toBeDefined()
        },
      ),
    ))
})

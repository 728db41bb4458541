import { readFileSync } from "node:fs"
import { gzipSync } from "node:zlib"
import { CloudEvent, HTTP } from "cloudevents"
import { Webhook } from "standardwebhooks"
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest"
import { type Rig, startRig } from "../../setup/rig.ts"

/**
 * What each sink sends, made by its own library or built by its source, with the settings of deploy/kafka.
 */
const settingsOf = (name: string) =>
  JSON.parse(readFileSync(new URL(`../../../deploy/kafka/${name}`, import.meta.url), "utf8"))
    .config as Record<string, string>

const SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

interface Sent {
  headers: Record<string, unknown>
  body: unknown
}

/** Three records of one topic, as they stand in Kafka; the last is a tombstone. */
const RECORDS = [
  {
    key: "room-7",
    value: { text: "Grüße 🚀", who: "ann" },
    topic: "chat",
    partition: 0,
    offset: 41,
    timestamp: 1_790_000_000_123,
  },
  {
    key: "room-8",
    value: { context_window_id: "conv-1", raw_content: "already a signal" },
    topic: "chat",
    partition: 0,
    offset: 42,
    timestamp: 1_790_000_000_124,
  },
  { key: "room-7", value: null, topic: "chat", partition: 0, offset: 43, timestamp: 1_790_000_000_125 },
]
const LIVING = RECORDS.filter(({ value }) => value !== null)

/** A value alone has no key, so its conversation has to be in it. */
const withRoom = ({ key, value }: (typeof RECORDS)[number]) => JSON.stringify({ room: key, ...value })

/** RecordSender: prefix, values joined by the separator, suffix. */
function aiven(settings: Record<string, string>): Sent {
  const {
    "batch.prefix": prefix = "",
    "batch.separator": separator = "\n",
    "batch.suffix": suffix = "\n",
  } = settings
  const type = settings["http.headers.content.type"]
  return {
    headers: type ? { "content-type": type } : {},
    body: prefix + LIVING.map(withRoom).join(separator) + suffix,
  }
}

const cloudEventOf = ({ key, value, topic, partition, offset, timestamp }: (typeof RECORDS)[number]) =>
  new CloudEvent({
    id: `partition:${partition}/offset:${offset}`,
    source: `/apis/v1/namespaces/default/kafkasources/signals#${topic}`,
    type: "dev.knative.kafka.event",
    subject: `partition:${partition}#${offset}`,
    time: new Date(timestamp).toISOString(),
    datacontenttype: "application/json",
    key,
    data: value ?? undefined,
  })

const binary = (record: (typeof RECORDS)[number]): Sent => {
  const { headers, body } = HTTP.binary(cloudEventOf(record))
  return { headers, body: body ?? "" }
}

/** HttpChangeConsumer: one event a call; the message's id is a random UUID, the same at each attempt. */
function debezium(record: (typeof RECORDS)[number], messageId: string): Sent {
  const body = JSON.stringify({
    id: `name:chat;lsn:${record.offset};txId:1`,
    source: "/debezium/postgresql/chat",
    specversion: "1.0",
    type: "io.debezium.connector.postgresql.DataChangeEvent",
    time: new Date(record.timestamp).toISOString(),
    datacontenttype: "application/json",
    iodebeziumop: "c",
    data: {
      schema: { type: "struct" },
      payload: { before: null, after: { room: record.key, ...record.value }, op: "c" },
    },
  })
  const now = new Date()
  return {
    headers: {
      "content-type": "application/cloudevents+json",
      "webhook-id": messageId,
      "webhook-timestamp": String(Math.floor(now.getTime() / 1000)),
      "webhook-signature": new Webhook(SECRET).sign(messageId, now, body),
    },
    body,
  }
}

const json = (body: unknown): Sent => ({
  headers: { "content-type": "application/json" },
  body: JSON.stringify(body),
})

/**
 * Each with the calls it makes for the three records; `known`: it tells enough for a record to be known
 * again.
 */
const SINKS: Record<string, { calls: Sent[]; known: boolean }> = {
  "Aiven's connector, as in deploy/kafka": {
    calls: [aiven(settingsOf("aiven-http-connector.json"))],
    known: false,
  },
  "Aiven's connector with its defaults: lines, and no content type": { calls: [aiven({})], known: false },
  "Confluent's HTTP sink, an array of values": {
    calls: [json(LIVING.map((record) => JSON.parse(withRoom(record))))],
    known: false,
  },
  "Confluent's REST proxy, v2": {
    calls: [
      {
        headers: { "content-type": "application/vnd.kafka.json.v2+json" },
        body: JSON.stringify({ records: RECORDS }),
      },
    ],
    known: true,
  },
  "a consumer of the Strimzi bridge, handing on what it was answered": {
    calls: [
      { headers: { "content-type": "application/vnd.kafka.json.v2+json" }, body: JSON.stringify(RECORDS) },
    ],
    known: true,
  },
  "CloudEvents in binary mode (Knative)": { calls: RECORDS.map(binary), known: true },
  "CloudEvents in structured mode": {
    calls: LIVING.map((record) => {
      const { headers, body } = HTTP.structured(cloudEventOf(record))
      return { headers, body }
    }),
    known: true,
  },
  "CloudEvents in batched mode": {
    calls: [
      {
        headers: { "content-type": "application/cloudevents-batch+json; charset=utf-8" },
        body: JSON.stringify(LIVING.map((record) => cloudEventOf(record).toJSON())),
      },
    ],
    known: true,
  },
  "Debezium Server, signed": {
    calls: LIVING.map((record) => debezium(record, crypto.randomUUID())),
    known: true,
  },
  "Vector, as in deploy/kafka, gzip": {
    calls: [
      {
        headers: { "content-type": "application/json", "content-encoding": "gzip" },
        body: gzipSync(JSON.stringify(RECORDS)),
      },
    ],
    known: true,
  },
  "Vector, lines": {
    calls: [
      {
        headers: { "content-type": "application/x-ndjson" },
        body: RECORDS.map((record) => JSON.stringify(record)).join("\n"),
      },
    ],
    known: true,
  },
  "Fluent Bit's Kafka input and HTTP output": {
    calls: [
      json(
        RECORDS.map(({ key, value, topic, partition, offset, timestamp }) => {
          return {
            date: timestamp / 1000,
            topic,
            partition,
            offset,
            error: null,
            key,
            payload: value === null ? null : JSON.stringify(value),
          }
        }),
      ),
    ],
    known: true,
  },
  "Redpanda Connect, as in deploy/kafka": { calls: [json(RECORDS)], known: true },
  "lines of values": {
    calls: [
      { headers: { "content-type": "application/x-ndjson" }, body: `${LIVING.map(withRoom).join("\n")}\n` },
    ],
    known: false,
  },
}

describe("what Kafka's sinks send", () => {
  let rig: Rig

  beforeAll(async () => {
    // Debezium's change events have the row in `after`.
    const mapping = {
      conversation: ["$key", "room", "after.context_window_id", "after.room"],
      text: ["text", "after.raw_content", "after.text"],
    }
    rig = await startRig({ WEBHOOK_SECRET: SECRET, KAFKA_FIELD_MAPPING: JSON.stringify(mapping) })
  })
  afterAll(() => rig?.stop())
  beforeEach(async () => {
    await rig.query("truncate signals, batches, dedupe_keys, dead_letters")
  })

  async function deliver(calls: readonly Sent[]): Promise<void> {
    for (const { headers, body } of calls) {
      const sent = typeof body === "string" || Buffer.isBuffer(body) ? body : JSON.stringify(body)
      const response = await fetch(`${rig.service.address}/webhooks/kafka`, {
        method: "POST",
        headers: headers as Record<string, string>,
        body: sent as BodyInit,
      })
      const answer = (await response.json()) as { failures?: unknown[] }
      expect([response.status, answer.failures]).toEqual([200, []])
    }
  }

  const stored = () =>
    rig.query<{ context_window_id: string; raw_content: string }>(
      "select context_window_id, raw_content from signals order by id",
    )

  it.each(Object.entries(SINKS))("is stored, without its tombstones: %s", async (_, { calls }) => {
    await deliver(calls)
    expect(await stored()).toEqual([
      { context_window_id: "room-7", raw_content: "Grüße 🚀" },
      { context_window_id: "conv-1", raw_content: "already a signal" },
    ])
  })

  it.each(Object.entries(SINKS).filter(([, { known }]) => known))(
    "is stored once when it is sent again: %s",
    async (_, { calls }) => {
      await deliver(calls)
      await deliver(calls)
      expect(await stored()).toHaveLength(2)
    },
  )

  it("keeps Kafka's timestamp of a record", async () => {
    await deliver(SINKS["Redpanda Connect, as in deploy/kafka"]?.calls ?? [])
    const times = await rig.query(
      "select (extract(epoch from time) * 1000)::int8::text as ms from signals order by id",
    )
    expect(times).toEqual(LIVING.map(({ timestamp }) => ({ ms: String(timestamp) })))
  })
})

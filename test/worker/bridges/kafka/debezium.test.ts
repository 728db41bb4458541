import { describe, expect, it } from "vitest"
import { FieldMapping, mapKafkaRecord } from "../../../../src/bridges/kafka/mapping.ts"
import { readKafkaRecords } from "../../../../src/bridges/kafka/requests.ts"

const SOURCE = {
  version: "3.6.0.Final",
  connector: "postgresql",
  name: "chat",
  db: "chat",
  schema: "public",
  table: "messages",
}
const ROW = { id: 4, room: "room-7", text: "Hello" }
const ATTRIBUTES = {
  specversion: "1.0",
  id: 'name:chat;lsn:29274832;txId:565;sequence:[null,"29274832"]',
  source: "/debezium/postgresql/chat",
  type: "io.debezium.connector.postgresql.DataChangeEvent",
  datacontenttype: "application/json",
}

const envelope = (op: string, rows: object) => ({
  ...rows,
  source: SOURCE,
  op,
  ts_ms: 1_790_000_000_123,
  transaction: null,
})
const withSchema = (payload: unknown) => ({ schema: { type: "struct", fields: [] }, payload })
const JSON_TYPE = { "content-type": "application/json" }
const STRUCTURED = { "content-type": "application/cloudevents+json" }
const BINARY = (op: string) => ({
  ...JSON_TYPE,
  ...Object.fromEntries(
    Object.entries({ ...ATTRIBUTES, iodebeziumop: op }).map(([name, value]) => [`ce-${name}`, value]),
  ),
})

/** The change in each form in which Debezium and Kafka's sinks send it. */
const formsOf = (op: string, rows: object): [string, Record<string, string>, unknown][] => [
  ["an envelope", JSON_TYPE, envelope(op, rows)],
  ["an envelope with Connect's schema", JSON_TYPE, withSchema(envelope(op, rows))],
  [
    "an envelope as the value of a record",
    JSON_TYPE,
    { records: [{ key: "room-7", value: envelope(op, rows) }] },
  ],
  ["a CloudEvent", STRUCTURED, { ...ATTRIBUTES, iodebeziumop: op, data: rows }],
  [
    "a CloudEvent with Connect's schema",
    STRUCTURED,
    { ...ATTRIBUTES, iodebeziumop: op, data: withSchema(rows) },
  ],
  ["a CloudEvent in binary mode", BINARY(op), rows],
]

const deliver = (headers: Record<string, string>, body: unknown, mapping: object = {}) =>
  (
    readKafkaRecords({
      headers: new Headers(headers),
      text: JSON.stringify(body),
      cluster: undefined,
      maxRecords: 100,
    }) ?? []
  ).map((record) => mapKafkaRecord(record, FieldMapping.parse(mapping)))

const DELETED = { before: ROW, after: null }
const TRUNCATED = { before: null, after: null }
const AFTER = { conversation: ["after.room", "$key"], text: "after.text" }

describe("a deleted row of Debezium's", () => {
  it.each(formsOf("d", DELETED))("is skipped by its own name: %s", (_, headers, body) =>
    expect(deliver(headers, body, AFTER)).toEqual([{ skipped: "debezium_delete" }]),
  )

  it.each(formsOf("d", DELETED))(
    "becomes a signal where the mapping finds its conversation in `before`: %s",
    (_, headers, body) =>
      expect(
        deliver(headers, body, { conversation: ["after.room", "before.room"], text: "before.text" }),
      ).toMatchObject([{ signal: { context_window_id: "room-7", raw_content: "Hello" } }]),
  )

  it("becomes a signal by the path's long form too", () =>
    expect(deliver(JSON_TYPE, envelope("d", DELETED), { conversation: "$value.before.room" })).toMatchObject([
      { signal: { context_window_id: "room-7" } },
    ]))

  it("is skipped where `before` holds only the primary key, as with Postgres' default replica identity", () =>
    expect(
      deliver(JSON_TYPE, envelope("d", { before: { id: 4 }, after: null }), { conversation: "before.room" }),
    ).toEqual([{ skipped: "debezium_delete" }]))
})

describe("a row that Debezium has flattened", () => {
  it.each([
    [{ ...ROW, __deleted: "true" }, "debezium_delete"],
    [{ ...ROW, __deleted: true }, "debezium_delete"],
    [{ ...ROW, __deleted: "true", __op: "d" }, "debezium_delete"],
    [{ ...ROW, __op: "d", __table: "messages" }, "debezium_delete"],
    [{ context_window_id: "room-7", raw_content: "Hello", __deleted: "true" }, "debezium_delete"],
    [{ __op: "t" }, "debezium_truncate"],
  ])("is skipped when it is deleted: %j", (row, kind) => {
    for (const value of [row, withSchema(row)])
      expect(deliver(JSON_TYPE, { records: [{ key: "room-7", value }] })).toEqual([{ skipped: kind }])
  })

  it.each([
    { ...ROW, __deleted: "false", __op: "u" },
    { ...ROW, __op: "c" },
    { ...ROW, __deleted: "yes" },
    { ...ROW, op: "d" },
  ])("is stored otherwise: %j", (value) =>
    expect(deliver(JSON_TYPE, { records: [{ key: "room-7", value }] })).toMatchObject([
      { signal: { context_window_id: "room-7", raw_content: "Hello" } },
    ]),
  )
})

describe("Debezium's own state", () => {
  const heartbeat = { key: { serverName: "chat" }, value: { ts_ms: 1_790_000_000_123 } }
  const marker = (status: string) => ({
    key: { id: "571:53195829" },
    value: {
      status,
      id: "571:53195829",
      ts_ms: 1_790_000_000_123,
      event_count: status === "END" ? 2 : null,
      data_collections: null,
    },
  })
  const schemas = ({ key, value }: { key: unknown; value: unknown }) => ({
    key: withSchema(key),
    value: withSchema(value),
  })

  it.each([
    ["debezium_heartbeat", heartbeat],
    ["debezium_heartbeat", schemas(heartbeat)],
    ["debezium_heartbeat", { ...heartbeat, key: JSON.stringify(heartbeat.key) }],
    ["debezium_heartbeat", { value: heartbeat.value }],
    ["debezium_transaction", marker("BEGIN")],
    ["debezium_transaction", schemas(marker("END"))],
  ])("is skipped as %s, also where a mapping would find a conversation: %j", (kind, record) => {
    const records = [{ ...record, topic: "__debezium-heartbeat.chat" }]
    expect(deliver(JSON_TYPE, { records }, { conversation: "$topic" })).toEqual([{ skipped: kind }])
  })

  it.each([
    { key: "room-7", value: { ts_ms: 1 } },
    { key: "room-7", value: { status: "BEGIN", id: "7" } },
    { key: "room-7", value: { status: "open", id: "7", event_count: 1, data_collections: null } },
  ])("is no record of a user that looks a little like it: %j", (record) =>
    expect(deliver(JSON_TYPE, { records: [record] })).toMatchObject([
      { signal: { context_window_id: "room-7" } },
    ]),
  )
})

describe("a truncated table of Debezium's", () => {
  it.each(formsOf("t", TRUNCATED))("is skipped by its own name: %s", (_, headers, body) =>
    expect(deliver(headers, body, { conversation: ["before.room", "$key"] })).toEqual([
      { skipped: "debezium_truncate" },
    ]),
  )

  it("is skipped by its own name when the CloudEvent has no data", () =>
    expect(deliver(STRUCTURED, { ...ATTRIBUTES, iodebeziumop: "t" })).toEqual([
      { skipped: "debezium_truncate" },
    ]))
})

describe("any other change or value", () => {
  it.each(["c", "u", "r"].flatMap((op) => formsOf(op, { before: null, after: ROW })))(
    "is stored: %s",
    (_, headers, body) =>
      expect(deliver(headers, body, AFTER)).toMatchObject([
        { signal: { context_window_id: "room-7", raw_content: "Hello" } },
      ]),
  )

  it.each([
    { op: "d" },
    { op: "t", source: "crm" },
    { op: "d", source: {}, before: ROW },
    { op: "d", iodebeziumop: "d" },
  ])("that only resembles a change of Debezium's is stored: %j", (fields) =>
    expect(
      deliver(JSON_TYPE, { room: "room-7", text: "Hello", ...fields }, { conversation: "room" }),
    ).toMatchObject([{ signal: { context_window_id: "room-7" } }]),
  )

  it("a CloudEvent by another sender is stored, whatever attributes it has", () =>
    expect(
      deliver(
        STRUCTURED,
        { ...ATTRIBUTES, type: "chat.message", iodebeziumop: "d", data: ROW },
        { conversation: "room" },
      ),
    ).toMatchObject([{ signal: { context_window_id: "room-7" } }]))
})

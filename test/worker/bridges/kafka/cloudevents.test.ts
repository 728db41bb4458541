import { CloudEvent, HTTP } from "cloudevents"
import { describe, expect, it } from "vitest"
import { FieldMapping, mapKafkaRecord } from "../../../../src/bridges/kafka/mapping.ts"
import { readKafkaRecords } from "../../../../src/bridges/kafka/requests.ts"

const DATA = { room: "room-7", text: "Hello" }
const ATTRIBUTES = {
  id: "a-1",
  source: "/chat",
  type: "message",
  time: "2026-01-01T00:00:00.000Z",
  subject: "room-7",
}

const read = (headers: Record<string, unknown>, body: unknown) => {
  const text = typeof body === "string" ? body : JSON.stringify(body ?? "")
  return (
    readKafkaRecords({
      headers: new Headers(headers as Record<string, string>),
      text,
      cluster: undefined,
      maxRecords: 10_000,
    }) ?? []
  )
}
const map = (records: ReturnType<typeof read>, mapping: object = {}) =>
  records.map((record) => mapKafkaRecord(record, FieldMapping.parse(mapping)))

const STRUCTURED = { "content-type": "application/cloudevents+json" }
const structured = (event: object) => read(STRUCTURED, { specversion: "1.0", ...ATTRIBUTES, ...event })

/** As the specification's own library sends an event. */
const sent = (mode: "binary" | "structured", fields: object = {}) => {
  const { headers, body } = HTTP[mode](new CloudEvent({ ...ATTRIBUTES, data: DATA, ...fields }))
  return read(headers, body)
}

describe("a CloudEvent", () => {
  it.each(["binary", "structured"] as const)(
    "is known by its source and id, its time and subject count: %s mode",
    (mode) =>
      expect(map(sent(mode))).toMatchObject([
        {
          signal: {
            context_window_id: "room-7",
            raw_content: "Hello",
            timestamp: ATTRIBUTES.time,
            dedupe_key: "cloudevent:/chat a-1",
            payload: { value: DATA, cloudevent: { type: "message" } },
          },
        },
      ]),
  )

  it("is stored as a signal when its data is one, with the event's time where the data has none", () => {
    const data = { context_window_id: "conv-1", raw_content: "Hi" }
    expect(map(sent("structured", { data }))).toMatchObject([
      { signal: { ...data, timestamp: ATTRIBUTES.time } },
    ])
  })

  it("may come in a batch, even in an empty one", () => {
    const type = { "content-type": "application/cloudevents-batch+json" }
    const events = ["a-1", "a-2"].map((id) => new CloudEvent({ ...ATTRIBUTES, id, data: DATA }))
    expect(read(type, events)).toMatchObject([
      { identity: "cloudevent:/chat a-1" },
      { identity: "cloudevent:/chat a-2" },
    ])
    expect(read(type, [])).toEqual([])
  })

  it("is in structured mode when its content type says so, even when a gateway sets the headers of the other mode", () =>
    expect(
      read(
        { ...STRUCTURED, "ce-specversion": "1.0", "ce-id": "b" },
        { specversion: "1.0", ...ATTRIBUTES, data: DATA },
      ),
    ).toMatchObject([{ value: DATA, identity: "cloudevent:/chat a-1" }]))

  it("can have its data in base64, JSON or text", () => {
    expect(
      structured({ data_base64: btoa(JSON.stringify(DATA)), datacontenttype: "application/json" }),
    ).toMatchObject([{ value: DATA }])
    expect(structured({ data_base64: btoa("Hello"), datacontenttype: "text/plain" })).toMatchObject([
      { value: "Hello" },
    ])
    expect(map(structured({ data_base64: "/w==" }))).toEqual([{ refused: "data_base64 is not UTF-8 text" }])
    expect(map(structured({ data_base64: "%%%" }))).toEqual([{ refused: "data_base64 is not base64" }])
    expect(map(structured({ data_base64: btoa("\0\0\0\0\x07Hi") }))).toEqual([
      {
        refused: expect.stringMatching(
          /^data_base64 is in the wire format of a schema registry .*schema 7\)/,
        ),
      },
    ])
  })

  it("a CloudEvent that holds text has it as its content", () =>
    expect(
      map(
        read(
          {
            "content-type": "text/plain",
            "ce-specversion": "1.0",
            "ce-id": "1",
            "ce-source": "/s",
            "ce-type": "t",
            "ce-subject": "room-7",
          },
          "Hello",
        ),
      ),
    ).toMatchObject([{ signal: { context_window_id: "room-7", raw_content: "Hello" } }]))

  it("has its attributes percent-decoded from headers", () =>
    expect(sent("binary", { subject: "Gr%C3%BC%C3%9Fe" })).toMatchObject([{ subject: "Grüße" }]))

  it.each([
    ['"room 7"', "room 7"],
    ['"say \\"hi\\" \\\\o/"', 'say "hi" \\o/'],
    ['"Gr%C3%BC%C3%9Fe"', "Grüße"],
    ["100%25 %2525", "100% %25"],
    ["100% %zz", "100% %zz"],
    ['half "quoted"', 'half "quoted"'],
    ['"open', '"open'],
  ])("has its attributes unquoted and decoded once: %s", (header, subject) =>
    expect(sent("binary", { subject: header })).toMatchObject([{ subject }]),
  )

  it("is the same event with and without quotation marks", () => {
    const [plain] = sent("binary", { id: "a 1", source: "/s" })
    const [quoted] = sent("binary", { id: '"a 1"', source: '"/s"' })
    expect(quoted?.identity).toBe(plain?.identity)
  })

  it.each(["%C0%A0", "a%FF", '"%E2%82"'])("is refused when an attribute is not UTF-8: %s", (subject) =>
    expect(map(sent("binary", { subject }))).toMatchObject([
      { refused: "the header ce-subject has percent-encoded bytes that are not UTF-8" },
    ]),
  )

  it("can be mapped by an attribute", () =>
    expect(
      map(structured({ tenant: "t-9", data: { text: "Hello" } }), { conversation: "$cloudevent.tenant" }),
    ).toMatchObject([{ signal: { context_window_id: "t-9" } }]))

  it.each(["", undefined, 7])(
    "a CloudEvent without a valid id is refused, since nothing would identify it: %j",
    (id) =>
      expect(map(structured({ id, data: DATA }))).toEqual([
        { refused: "a CloudEvent must have an id and a source" },
      ]),
  )

  it("a CloudEvent without data is skipped as a tombstone", () => {
    expect(map(structured({}))).toEqual([{ skipped: "tombstone" }])
    expect(
      map(read({ "ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "t" }, "")),
    ).toEqual([{ skipped: "tombstone" }])
  })
})

describe("an event of Knative's KafkaSource", () => {
  const position = {
    id: "partition:0/offset:41",
    source: "/apis/v1/namespaces/default/kafkasources/signals#chat",
    type: "dev.knative.kafka.event",
    subject: "partition:0#41",
  }

  it("has the record's key as its conversation", () =>
    expect(map(sent("binary", { ...position, key: "room-7" }))).toMatchObject([
      { signal: { context_window_id: "room-7" } },
    ]))

  it("a CloudEvent without a key is refused, and its subject does not become the conversation", () =>
    expect(map(sent("binary", position))).toMatchObject([
      { refused: "the record has no conversation: $key or $subject must be text or a number" },
    ]))
})

/**
 * https://github.com/debezium/debezium/blob/main/documentation/modules/ROOT/pages/integrations/cloudevents.adoc
 */
describe("a change event of Debezium's", () => {
  const change = (after: object, more: object = {}) => ({
    id: 'name:chat;lsn:29274832;txId:565;sequence:[null,"29274832"]',
    source: "/debezium/postgresql/chat",
    type: "io.debezium.connector.postgresql.DataChangeEvent",
    iodebeziumop: "r",
    iodebeziumdb: "chat",
    iodebeziumschema: "public",
    iodebeziumtable: "messages",
    data: { schema: { type: "struct" }, payload: { before: null, after } },
    ...more,
  })
  const identities = (...events: object[]) => new Set(events.map((event) => structured(event)[0]?.identity))

  it("is distinct from the others of its snapshot or statement, although all of them share an id", () =>
    expect(
      identities(
        change({ id: 1, text: "a" }),
        change({ id: 2, text: "a" }),
        change({ id: 1, text: "a" }, { iodebeziumtable: "rooms" }),
        change({ id: 1, text: "a" }, { iodebeziumop: "c" }),
        change({ id: 1, text: "a" }, { iodebeziumrow: 1 }),
        change({ id: 1, text: "a" }, { iodebeziumcollection: "rooms" }),
      ).size,
    ).toBe(6))

  it("is the same when it is sent again with another time and version of its sender", () =>
    expect(
      identities(
        change({ id: 1 }, { iodebeziumtsms: "1", iodebeziumversion: "3.2" }),
        change({ id: 1 }, { iodebeziumtsms: "2", iodebeziumversion: "3.3" }),
        change({}, { data: { before: null, after: { id: 1 }, ts_ms: 7 } }),
      ).size,
    ).toBe(1))
})

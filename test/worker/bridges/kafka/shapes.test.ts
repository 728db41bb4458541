import { describe, expect, it } from "vitest"
import { FieldMapping, mapKafkaRecord } from "../../../../src/bridges/kafka/mapping.ts"
import { readKafkaRecords } from "../../../../src/bridges/kafka/requests.ts"

const deliver = (type: string, text: string, mapping: object = {}) =>
  (
    readKafkaRecords({
      headers: new Headers({ "Content-Type": type }),
      text,
      cluster: undefined,
      maxRecords: 10_000,
    }) ?? []
  ).map((record) => mapKafkaRecord(record, FieldMapping.parse(mapping)))

const JSON_TYPE = "application/json"
const line = (raw_content: string) => JSON.stringify({ context_window_id: "conv-1", raw_content })
const contents = (type: string, text: string) =>
  deliver(type, text).map((one) => ("signal" in one ? one.signal.raw_content : one))

describe("values that a sink joins", () => {
  it.each([
    ["a comma, as Confluent's HTTP sink does unless it is configured to send an array", ","],
    ["a comma and a line break", ",\n"],
    ["nothing, as Fluent Bit's json_stream", ""],
    ["line breaks of Windows", "\r\n"],
    ["empty lines", "\n\n"],
  ])("are separate records when they are joined by %s", (_, separator) =>
    expect(contents(JSON_TYPE, [line("one, {two}"), line('"three"')].join(separator))).toEqual([
      "one, {two}",
      '"three"',
    ]),
  )

  it("are separated when each takes several lines", () =>
    expect(
      contents(
        JSON_TYPE,
        ["one", "two"].map((text) => JSON.stringify(JSON.parse(line(text)), undefined, 2)).join("\n"),
      ),
    ).toEqual(["one", "two"]))

  it("fail alone when one of them is not JSON", () =>
    expect(contents(JSON_TYPE, `${line("one")},{"context_window_id": conv-1},${line("two")}`)).toEqual([
      "one",
      { refused: "the value is not JSON" },
      "two",
    ]))

  it("are one dead letter when the last value is truncated", () =>
    expect(deliver(JSON_TYPE, `${line("one")},{"context_window_id": `)).toEqual([
      { refused: "the value is not JSON" },
    ]))
})

describe("a record's headers", () => {
  const mapping = { conversation: "$headers.room", source: "$headers.app" }
  const expected = [{ signal: { context_window_id: "room-7", signal_source: "crm" } }]

  it.each([
    ["by name", { room: "room-7", app: "crm" }],
    [
      "as a list of key and value",
      [
        { key: "room", value: "room-7" },
        { key: "app", value: "crm" },
      ],
    ],
    [
      "as a list of name and value",
      [
        { name: "room", value: "room-7" },
        { name: "app", value: "crm" },
      ],
    ],
  ])("can be mapped: %s", (_, headers) =>
    expect(
      deliver(JSON_TYPE, JSON.stringify({ records: [{ value: { text: "Hello" }, headers }] }), mapping),
    ).toMatchObject(expected),
  )

  it("are decoded from the base64 of the Strimzi bridge", () => {
    const headers = [
      { key: "room", value: btoa("room-7") },
      { key: "app", value: btoa("crm") },
      { key: "trace", value: "/w==" },
    ]
    const records = [{ topic: "chat", key: null, value: { text: "Hello" }, partition: 0, offset: 1, headers }]
    expect(deliver("application/vnd.kafka.json.v2+json", JSON.stringify(records), mapping)).toMatchObject([
      {
        signal: {
          context_window_id: "room-7",
          signal_source: "crm",
          payload: { headers: [{ value: "room-7" }, { value: "crm" }, { value: "/w==" }] },
        },
      },
    ])
  })

  it.each([[null], [[]], [[7, null]], ["text"], [7]])(
    "without the mapped header leave the record without a conversation: %j",
    (headers) =>
      expect(
        deliver(JSON_TYPE, JSON.stringify({ records: [{ value: { text: "Hello" }, headers }] }), mapping),
      ).toMatchObject([
        { refused: "the record has no conversation: $headers.room must be text or a number" },
      ]),
  )
})

describe("a key", () => {
  const mapping = { conversation: ["$key", "room"] }
  const keyed = (key: unknown) =>
    deliver(JSON_TYPE, JSON.stringify({ records: [{ key, value: { room: "room-7" } }] }), mapping)

  it.each([
    ["room-1", "room-1"],
    [12, "12"],
    ["", "room-7"],
    [null, "room-7"],
    [undefined, "room-7"],
  ])("%j gives the conversation %s, where an empty key counts as absent", (key, conversation) =>
    expect(keyed(key)).toMatchObject([{ signal: { context_window_id: conversation } }]),
  )

  it("is not a conversation unless it is a text or a number", () =>
    expect(keyed({ id: 1 })).toMatchObject([{ refused: expect.any(String) }]))
})

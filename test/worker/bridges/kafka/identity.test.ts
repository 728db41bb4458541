import { describe, expect, it } from "vitest"
import { readKafkaRecords } from "../../../../src/bridges/kafka/requests.ts"

const read = (type: string, body: unknown, more: Record<string, string> = {}, cluster?: string) =>
  readKafkaRecords({
    headers: new Headers({ "Content-Type": type, ...more }),
    text: JSON.stringify(body),
    cluster,
    maxRecords: 10_000,
  }) ?? []

const JSON_TYPE = "application/json"
const SIGNAL = { context_window_id: "conv-1", raw_content: "Hello" }

describe("the identity of a record", () => {
  it("is its topic, partition and offset, with the cluster where one is named", () => {
    const body = { records: [{ topic: "chat", partition: 0, offset: 5, value: "v" }] }
    expect(read(JSON_TYPE, body)).toMatchObject([{ identity: "kafka:chat/0/5" }])
    expect(read(JSON_TYPE, body, {}, "eu-1")).toMatchObject([{ identity: "kafka:eu-1/chat/0/5" }])
  })

  it("includes the record's timestamp, so that a topic that is created again differs from the former one", () => {
    const position = { topic: "chat", partition: 0, offset: 5, value: "v" }
    const identityAt = (timestamp: unknown) =>
      read(JSON_TYPE, { records: [{ ...position, timestamp }] })[0]?.identity
    expect(identityAt(1_700_000_000_000)).toBe("kafka:chat/0/5/1700000000000")
    expect(identityAt("1700000000000")).toBe("kafka:chat/0/5/1700000000000")
    for (const none of [-1, "-1", null, "", undefined]) expect(identityAt(none)).toBe("kafka:chat/0/5")
  })

  it("leaves out Fluent Bit's date, which is the time of its reading", () => {
    const record = { date: 1_790_000_000.5, topic: "chat", partition: 0, offset: 5, payload: "v" }
    expect(read(JSON_TYPE, [record])).toMatchObject([{ identity: "kafka:chat/0/5" }])
  })

  it("is the webhook-id where the record has no offset, with its index among several records", () => {
    const headers = { "webhook-id": "msg_1" }
    expect(read(JSON_TYPE, SIGNAL, headers)).toMatchObject([{ identity: "webhook:msg_1" }])
    expect(read(JSON_TYPE, [SIGNAL, SIGNAL], headers)).toMatchObject([
      { identity: "webhook:msg_1#0" },
      { identity: "webhook:msg_1#1" },
    ])
    const placed = { records: [{ topic: "t", partition: 0, offset: 1, value: 1 }] }
    expect(read(JSON_TYPE, placed, headers)).toMatchObject([{ identity: "kafka:t/0/1" }])
  })

  it("is undefined when the sender does not identify the record", () => {
    expect(read(JSON_TYPE, SIGNAL)[0]).not.toHaveProperty("identity")
    expect(read(JSON_TYPE, { records: [{ topic: "t", value: 1, offset: 4 }] })[0]).not.toHaveProperty(
      "identity",
    )
  })

  it("is never longer than a dedupe_key", () => {
    const long = {
      records: [
        { topic: "t".repeat(249), partition: 0, offset: 1, value: 1 },
        { topic: "t".repeat(249), partition: 0, offset: 2, value: 1 },
      ],
    }
    const identities = read(JSON_TYPE, long, {}, "a-long-cluster-name").map((record) => record.identity ?? "")
    expect(new Set(identities).size).toBe(2)
    for (const identity of identities) expect(identity.length).toBeLessThanOrEqual(255)
  })

  it("is the same for a record that is twice in a request, so that it is stored once", () => {
    const record = { topic: "chat", partition: 0, offset: 5, value: "v" }
    const identities = read(JSON_TYPE, [record, record, { ...record, offset: "5" }]).map(
      ({ identity }) => identity,
    )
    expect(new Set(identities)).toEqual(new Set(["kafka:chat/0/5"]))
  })

  it("keeps every digit of an offset", () => {
    const text =
      '[{"topic": "t", "partition": 0, "offset": 9223372036854775807, "value": 1}, {"topic": "t", "partition": 0, "offset": 9223372036854775806, "value": 1}]'
    const records =
      readKafkaRecords({ headers: new Headers(), text, cluster: undefined, maxRecords: 10_000 }) ?? []
    expect(records.map(({ identity }) => identity)).toEqual([
      "kafka:t/0/9223372036854775807",
      "kafka:t/0/9223372036854775806",
    ])
  })
})

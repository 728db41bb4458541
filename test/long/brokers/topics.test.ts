import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import {
  Admin,
  MessagesStreamFallbackModes,
  MessagesStreamModes,
  Producer,
  stringSerializers,
} from "@platformatic/kafka"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { CommittedConsumer, withoutAborted } from "../../../src/cli/kafka/consumer.ts"
import { countPartitions, followPartitions } from "../../../src/cli/kafka/partitions.ts"
import { start } from "../../node/cli/import/importer.ts"
import { type Broker, HAS_KAFKA, startBroker } from "../../setup/kafka.ts"
import { type Rig, startRig } from "../../setup/rig.ts"

describe.runIf(HAS_KAFKA)("signals consume kafka, from a topic that changes", { timeout: 120_000 }, () => {
  let broker: Broker
  let rig: Rig
  let admin: Admin
  let folder: string
  let producer: Producer<string, string, string, string>
  const client = (name: string) => ({
    clientId: name,
    bootstrapBrokers: [broker.address],
    retries: 50,
    retryDelay: 200,
  })

  beforeAll(async () => {
    ;[broker, rig] = await Promise.all([startBroker(), startRig()])
    folder = await mkdtemp(join(tmpdir(), "signal-ingest-topics-"))
    admin = new Admin(client("admin"))
    producer = new Producer({ ...client("test"), serializers: stringSerializers })
  }, 120_000)
  afterAll(async () => {
    await producer?.close()
    await admin?.close()
    await rig?.stop()
    await broker?.stop()
    await rm(folder, { recursive: true, force: true })
  })

  const create = (topic: string) => admin.createTopics({ topics: [topic], partitions: 1, replicas: 1 })
  const messagesOf = (topic: string, texts: string[], partition = 0) =>
    texts.map((text) => ({ topic, partition, key: "room", value: JSON.stringify({ text }), headers: {} }))
  const produce = (topic: string, texts: string[], partition = 0) =>
    producer.send({ messages: messagesOf(topic, texts, partition) })
  const transactional = (id: string, more: object = {}) =>
    new Producer({
      ...client(id),
      serializers: stringSerializers,
      transactionalId: id,
      idempotent: true,
      ...more,
    })
  const consume = (topic: string, ...more: string[]) =>
    start(
      folder,
      [
        "consume",
        "kafka",
        "--brokers",
        broker.address,
        "--topic",
        topic,
        "--group",
        `group-${topic}`,
        ...more,
      ],
      { SIGNAL_INGEST_URL: rig.service.address },
    )
  const stop = async (consumer: ReturnType<typeof consume>) => {
    consumer.child.kill("SIGINT")
    expect(await consumer.ended).toBe(130)
  }
  const stored = async (topic: string) =>
    (
      await rig.query<{ raw_content: string }>(
        "select raw_content from signals where payload ->> 'topic' = $1 order by id",
        [topic],
      )
    ).map(({ raw_content }) => raw_content)
  const expectStored = (topic: string, texts: string[]) =>
    expect.poll(async () => (await stored(topic)).sort(), { timeout: 60_000 }).toEqual(texts.toSorted())

  it.each([["abort-commit-abort"], ["abort-abort-commit"], ["commit-abort-commit"], ["abort-commit"]])(
    "stores no record of an aborted transaction: %s",
    async (plan) => {
      await create(plan)
      const inTransactions = transactional(plan)
      for (const [index, end] of plan.split("-").entries()) {
        const transaction = await inTransactions.beginTransaction()
        const texts = [0, 1].map((part) => `${end}-${index}-${part}`)
        await transaction.send({ messages: messagesOf(plan, texts) })
        await (end === "commit" ? transaction.commit() : transaction.abort())
      }
      await inTransactions.close()
      await produce(plan, ["last"])
      const consumer = consume(plan)
      const committed = plan
        .split("-")
        .flatMap((end, index) => (end === "commit" ? [`commit-${index}-0`, `commit-${index}-1`] : []))
      await expectStored(plan, [...committed, "last"])
      await stop(consumer)
    },
  )

  it("stores no record of an aborted transaction that is compressed, or has records in two partitions", async () => {
    const topic = "aborted-parts"
    await admin.createTopics({ topics: [topic], partitions: 2, replicas: 1 })
    const producer = transactional(topic, { compression: "gzip" })
    for (const [index, end] of ["abort", "commit", "abort", "commit"].entries()) {
      const transaction = await producer.beginTransaction()
      for (const partition of [0, 1])
        await transaction.send({ messages: messagesOf(topic, [`${end}-${index}-${partition}`], partition) })
      await (end === "commit" ? transaction.commit() : transaction.abort())
    }
    await producer.close()
    const consumer = consume(topic)
    await expectStored(topic, ["commit-1-0", "commit-1-1", "commit-3-0", "commit-3-1"])
    await stop(consumer)
  })

  it("reads a partition that was added while the consumer joined its group", async () => {
    const topic = "grows-at-once"
    await create(topic)
    const consumer = new CommittedConsumer({
      ...client("joins"),
      groupId: `group-${topic}`,
      onLost: "stop",
      tell: () => {},
    })
    const known = await countPartitions(consumer, [topic])
    const stream = await consumer.consume({
      topics: [topic],
      autocommit: false,
      mode: MessagesStreamModes.COMMITTED,
      fallbackMode: MessagesStreamFallbackModes.EARLIEST,
    })
    // Behind the group's assignment, and before the first look.
    await admin.createPartitions({ topics: [{ name: topic, count: 2 }] })
    await produce(topic, ["added"], 1)
    const unfollow = followPartitions(consumer, { known, onError: (error) => stream.destroy(error) })
    const [message] = await stream.take(1).toArray()
    expect([message?.partition, message?.value?.toString()]).toEqual([1, '{"text":"added"}'])
    unfollow()
    await consumer.close(true)
  })

  it("reads a partition that is added to the second of two topics", async () => {
    const topics = ["pair-a", "pair-b"] as const
    for (const topic of topics) await create(topic)
    const consumer = consume(topics[0], "--topic", topics[1])
    await produce(topics[0], ["a"])
    await expectStored(topics[0], ["a"])
    await admin.createPartitions({ topics: [{ name: topics[1], count: 2 }] })
    await produce(topics[1], ["b"], 1)
    await expectStored(topics[1], ["b"])
    await stop(consumer)
  })

  it("reads a partition that is added to a topic which the leader of the group does not read", async () => {
    const topics = ["led-a", "led-b"] as const
    for (const topic of topics) await create(topic)
    const group = ["--group", "led"]
    const members = [consume(topics[0], ...group)]
    await produce(topics[0], ["a"])
    await expectStored(topics[0], ["a"])
    members.push(consume(topics[1], ...group))
    await produce(topics[1], ["b"])
    await expectStored(topics[1], ["b"])
    await admin.createPartitions({ topics: [{ name: topics[1], count: 2 }] })
    await produce(topics[1], ["added"], 1)
    await expectStored(topics[1], ["b", "added"])
    for (const member of members) await stop(member)
  })

  it.each(["earliest", "latest"])("reads partitions that are added later, with --from %s", async (from) => {
    const topic = `grows-${from}`
    await create(topic)
    await produce(topic, ["before"])
    const first = consume(topic, "--from", from)
    const before = from === "latest" ? [] : ["before"]
    // What comes behind the group's first offset is stored.
    await expect
      .poll(async () => {
        const [group] = await admin.listConsumerGroupOffsets({ groups: [`group-${topic}`] })
        return group?.topics.flatMap(({ partitions }) =>
          partitions.map(({ committedOffset }) => committedOffset),
        )
      })
      .toContainEqual(1n)
    await admin.createPartitions({ topics: [{ name: topic, count: 3 }] })
    await produce(topic, ["added 1"], 1)
    await produce(topic, ["added 2"], 2)
    await expectStored(topic, [...before, "added 1", "added 2"])
    await stop(first)
    await admin.createPartitions({ topics: [{ name: topic, count: 4 }] })
    await produce(topic, ["added 3"], 3)
    const second = consume(topic, "--from", from)
    await expectStored(topic, [...before, "added 1", "added 2", "added 3"])
    await stop(second)
  })

  it("names the option that helps when retention has deleted the group's offset, and accepts it", async () => {
    const topic = "lost"
    await create(topic)
    await produce(topic, ["0"])
    const first = consume(topic)
    await expectStored(topic, ["0"])
    await stop(first)
    await produce(topic, ["1", "2", "3"])
    await admin.deleteRecords({ topics: [{ name: topic, partitions: [{ partition: 0, offset: 3n }] }] })
    const stopped = consume(topic)
    expect(await stopped.ended).toBe(3)
    expect(stopped.said.err).toContain("the topic no longer has the records at the group's offset")
    expect(stopped.said.err).toContain("--on-lost earliest")
    const third = consume(topic, "--on-lost", "earliest")
    await expectStored(topic, ["0", "3"])
    await stop(third)
    await produce(topic, ["4", "5"])
    await admin.deleteRecords({ topics: [{ name: topic, partitions: [{ partition: 0, offset: 5n }] }] })
    const fourth = consume(topic, "--on-lost", "latest")
    await expect.poll(() => fourth.said.err, { timeout: 60_000 }).toContain("Reading continues at offset 6.")
    await produce(topic, ["6"])
    await expectStored(topic, ["0", "3", "6"])
    await stop(fourth)
  })

  it("keeps every header of one name", async () => {
    const topic = "headers"
    await create(topic)
    const raw = new Producer(client("raw"))
    const named = (name: string, value: string) => [Buffer.from(name), Buffer.from(value)] as const
    const headers = new Map([named("a", "1"), named("a", "2"), named("b", "3")])
    await raw.send({
      messages: [{ topic, key: Buffer.from("room"), value: Buffer.from('{"text":"x"}'), headers }],
    })
    await raw.close()
    const consumer = consume(topic)
    await expectStored(topic, ["x"])
    const [row] = await rig.query<{ headers: string }>(
      "select (payload -> 'headers')::text as headers from signals where payload ->> 'topic' = $1",
      [topic],
    )
    expect(JSON.parse(row?.headers ?? "")).toEqual([
      { key: "a", value: "1" },
      { key: "a", value: "2" },
      { key: "b", value: "3" },
    ])
    await stop(consumer)
  })
})

describe("the records of a fetch", () => {
  const [TRANSACTIONAL, CONTROL] = [0x10, 0x30]
  const batch = (
    firstOffset: number,
    producerId: number,
    attributes = TRANSACTIONAL,
    control?: "abort" | "commit",
  ) => ({
    firstOffset: BigInt(firstOffset),
    lastOffsetDelta: 0,
    producerId: BigInt(producerId),
    attributes,
    records: [{ key: control && Buffer.from([0, 0, 0, control === "commit" ? 1 : 0]) }],
  })
  /** The offsets whose records are left of a plan, such as "a1 A1": data and abort of producer 1. */
  function leftOf(plan: string, aborted: [number, number][]): number[] {
    const records = plan.split(" ").map((step, offset) => {
      const producer = Number(step[1])
      if (step[0] === "d") return batch(offset, producer)
      if (step[0] === "p") return batch(offset, producer, 0)
      return batch(offset, producer, CONTROL, step[0] === "A" ? "abort" : "commit")
    })
    const abortedTransactions = aborted.map(([producer, first]) => ({
      producerId: BigInt(producer),
      firstOffset: BigInt(first),
    }))
    const response = { responses: [{ partitions: [{ records, abortedTransactions }] }] }
    const [topic] = withoutAborted(response as never).responses
    return (topic?.partitions[0]?.records ?? []).flatMap(({ records: left, firstOffset, attributes }) =>
      left.length > 0 && !(attributes & 0x20) ? [Number(firstOffset)] : [],
    )
  }

  it.each<[string, [number, number][], number[]]>([
    [
      "d1 A1 d1 C1 d1 A1",
      [
        [1, 0],
        [1, 4],
      ],
      [2],
    ],
    [
      "d1 A1 d1 A1 d1 C1",
      [
        [1, 0],
        [1, 2],
      ],
      [4],
    ],
    ["d1 d2 A1 d2 C2 p3", [[1, 0]], [1, 3, 5]],
    ["d1 d2 A2 d1 C1", [[2, 1]], [0, 3]],
    // The marker is in the next fetch.
    ["d1 C1 d1 d1", [[1, 2]], [0]],
    // The transaction began before this fetch.
    ["d1 A1 d1", [[1, -5]], [2]],
  ])("are those of committed transactions: %s", (plan, aborted, left) => {
    expect(leftOf(plan, aborted)).toEqual(left)
  })
})

import { mkdtemp, readdir, readFile, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Producer, stringSerializers } from "@platformatic/kafka"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { start } from "../../node/cli/import/importer.ts"
import { type Broker, HAS_KAFKA, startBroker, USER } from "../../setup/kafka.ts"
import { type FaultyProxy, startProxy } from "../../setup/proxy.ts"
import { type Rig, startRig } from "../../setup/rig.ts"

describe.runIf(HAS_KAFKA)("signals consume kafka, from a real broker", () => {
  let broker: Broker
  let rig: Rig
  let proxy: FaultyProxy
  let producer: Producer<string, string, string, string>
  let folder: string

  beforeAll(async () => {
    ;[broker, rig] = await Promise.all([startBroker(), startRig()])
    proxy = await startProxy(rig.service.address)
    folder = await mkdtemp(join(tmpdir(), "signal-ingest-consume-"))
    producer = new Producer({
      clientId: "test",
      bootstrapBrokers: [broker.address],
      serializers: stringSerializers,
      retries: 50,
      retryDelay: 200,
      autocreateTopics: true,
    })
  })
  afterAll(async () => {
    await producer?.close()
    await proxy?.stop()
    await rig?.stop()
    await broker?.stop()
    await rm(folder, { recursive: true, force: true })
  })

  const produce = (
    topic: string,
    from: number,
    count: number,
    value = (index: number) => JSON.stringify({ text: String(index) }),
  ) =>
    producer.send({
      messages: Array.from({ length: count }, (_, at) => ({
        topic,
        key: `room-${(from + at) % 5}`,
        value: value(from + at),
        headers: { app: "test" },
      })),
    })
  /** The lines of every failures file of a topic, whichever process wrote them. */
  const failuresOf = async (topic: string): Promise<Record<string, unknown>[]> => {
    const names = (await readdir(folder)).filter(
      (name) => name.startsWith(`${topic}.`) && name.endsWith(".jsonl"),
    )
    const texts = await Promise.all(names.map((name) => readFile(join(folder, name), "utf8")))
    return texts.flatMap((text) => text.trimEnd().split("\n")).map((line) => JSON.parse(line))
  }
  const consume = (
    topic: string,
    more: { brokers?: string; args?: string[]; env?: Record<string, string> } = {},
  ) =>
    start(
      folder,
      [
        "consume",
        "kafka",
        "--brokers",
        more.brokers ?? broker.address,
        "--topic",
        topic,
        "--group",
        `group-${topic}`,
        "--batch-size",
        "20",
        "--failures",
        `${topic}.jsonl`,
        ...(more.args ?? []),
      ],
      { SIGNAL_INGEST_URL: proxy.address, ...more.env },
    )
  const stored = async (topic: string) =>
    (
      await rig.query<{ raw_content: string }>(
        "select raw_content from signals where payload ->> 'topic' = $1 order by raw_content::int",
        [topic],
      )
    ).map(({ raw_content }) => Number(raw_content))
  const upTo = (count: number) => Array.from({ length: count }, (_, index) => index)

  it("stores every record once, with its topic, partition and offset, and continues at the group's offsets", async () => {
    await produce("chat", 0, 100)
    const first = consume("chat")
    await expect.poll(() => stored("chat")).toEqual(upTo(100))
    first.child.kill("SIGINT")
    expect(await first.ended).toBe(130)
    const [row] = await rig.query(
      "select context_window_id, signal_source, dedupe_key, payload #>> '{headers,app}' as app from signals where raw_content = '7'",
    )
    expect(row).toEqual({
      context_window_id: "room-2",
      signal_source: "Kafka",
      dedupe_key: expect.stringMatching(/^kafka:chat\/\d\/\d+\/\d{13}$/),
      app: "test",
    })

    const requests = proxy.seen.length
    await produce("chat", 100, 50)
    const second = consume("chat")
    await expect.poll(() => stored("chat")).toEqual(upTo(150))
    second.child.kill("SIGINT")
    expect(await second.ended).toBe(130)
    // The offsets were committed: it read what was new, and little of what was not.
    expect(proxy.seen.length - requests).toBeLessThan(10)
  })

  it("stores each once although it is killed and answers are lost", async () => {
    await produce("storm", 0, 1000)
    for (let kill = 0; kill < 2; kill++) {
      proxy.mishaps.push({ kind: "lose" }, { kind: "lose" })
      const before = proxy.seen.length
      const { child, ended } = consume("storm")
      await expect.poll(() => proxy.seen.length, { interval: 5 }).toBeGreaterThan(before + 4)
      child.kill("SIGKILL")
      await ended
    }
    const last = consume("storm")
    await expect.poll(() => stored("storm")).toEqual(upTo(1000))
    last.child.kill("SIGINT")
    await last.ended
    expect(await stored("storm")).toEqual(upTo(1000))
  })

  it("writes records that cannot be stored into the failures file, and continues", async () => {
    await produce("odd", 0, 3, (index) =>
      index === 1
        ? JSON.stringify({ context_window_id: "c", signal_score: 2 })
        : JSON.stringify({ text: String(index) }),
    )
    const { child, ended } = consume("odd")
    await expect.poll(() => stored("odd")).toEqual([0, 2])
    await expect
      .poll(async () => (await failuresOf("odd")).map(({ _error }) => _error))
      .toEqual(["signal_score must be between 0 and 1"])
    child.kill("SIGINT")
    await ended
  })

  it("keeps the failures of an earlier run, and bytes that are not text unchanged", async () => {
    const raw = new Producer({
      clientId: "raw",
      bootstrapBrokers: [broker.address],
      autocreateTopics: true,
      retries: 50,
    })
    const latin1 = Buffer.from("636166e9", "hex")
    const avro = Buffer.from([0, 0, 0, 0, 7, 2, 104, 105])
    for (const [round, value] of [latin1, avro].entries()) {
      await raw.send({ messages: [{ topic: "bytes", key: Buffer.from("room"), value, headers: new Map() }] })
      const { child, ended } = consume("bytes")
      await expect.poll(async () => (await failuresOf("bytes").catch(() => [])).length).toBe(round + 1)
      child.kill("SIGINT")
      await ended
    }
    await raw.close()
    const failures = await failuresOf("bytes")
    expect(failures.map(({ _error }) => _error).sort()).toEqual([
      expect.stringContaining("wire format of a schema registry (Avro, Protobuf or JSON Schema, schema 7)"),
      "the value is not UTF-8 text",
    ])
    const kept = failures.map(({ _record }) => (_record as { value_base64: string }).value_base64)
    expect(kept.sort()).toEqual([latin1.toString("base64"), avro.toString("base64")].sort())
  })

  it.each([
    ["plain", false],
    ["scram-sha-256", false],
    ["scram-sha-512", true],
  ])("logs in by %s, with TLS: %s", async (mechanism, hasTls) => {
    const topic = `secure-${mechanism}`
    await produce(topic, 0, 3)
    const args = [
      "--sasl",
      mechanism,
      "--username",
      USER.name,
      ...(hasTls ? ["--tls", "--tls-ca", broker.ca] : []),
    ]
    const brokers = hasTls ? broker.saslSsl : broker.sasl
    const { child, said, ended } = consume(topic, { brokers, args, env: { KAFKA_PASSWORD: USER.password } })
    await expect.poll(() => stored(topic)).toEqual(upTo(3))
    child.kill("SIGINT")
    expect([await ended, said.err]).toEqual([130, expect.stringContaining("3 read, 3 stored, 0 failed")])
  })

  it.each([
    [
      "a wrong password",
      () => ({
        brokers: broker.sasl,
        args: ["--sasl", "plain", "--username", USER.name],
        env: { KAFKA_PASSWORD: "x" },
      }),
      3,
      /uthenticat/,
    ],
    [
      "a certificate of an unknown CA",
      () => ({ brokers: broker.saslSsl, args: ["--tls"] }),
      3,
      /certificate/,
    ],
    [
      "no broker",
      () => ({ brokers: "127.0.0.1:9" }),
      3,
      /the Kafka brokers at 127\.0\.0\.1:9: .*ECONNREFUSED/,
    ],
    ["no password", () => ({ args: ["--sasl", "plain", "--username", "u"] }), 2, /KAFKA_PASSWORD/],
  ])("stops with a sentence on %s", async (_, more, code, sentence) => {
    const { said, ended } = consume("never", more())
    expect([await ended, said.err]).toEqual([code, expect.stringMatching(sentence)])
    expect(said.err).not.toMatch(/^\s+at /m)
  })

  it("stops, and commits nothing, when the service refuses its key", async () => {
    await produce("refused", 0, 3)
    proxy.mishaps.push({ kind: "answer", status: 403, body: '{"detail":"This key may not ingest."}' })
    const { said, ended } = consume("refused")
    expect([await ended, said.err]).toEqual([3, expect.stringContaining("This key may not ingest.")])
    const again = consume("refused")
    await expect.poll(() => stored("refused")).toEqual(upTo(3))
    again.child.kill("SIGINT")
    await again.ended
  })
})

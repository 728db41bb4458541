import { mkdtemp, readFile, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Producer, stringSerializers } from "@platformatic/kafka"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { type Broker, HAS_KAFKA, startBroker } from "../../../setup/kafka.ts"
import { type FaultyProxy, startProxy } from "../../../setup/proxy.ts"
import { type Rig, startRig } from "../../../setup/rig.ts"
import { start } from "../import/importer.ts"

describe.runIf(HAS_KAFKA)("signals consume kafka, from a real broker", { timeout: 120_000 }, () => {
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
  }, 120_000)
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
    value = (place: number) => JSON.stringify({ text: String(place) }),
  ) =>
    producer.send({
      messages: Array.from({ length: count }, (_, at) => ({
        topic,
        key: `room-${(from + at) % 5}`,
        value: value(from + at),
        headers: { app: "test" },
      })),
    })
  const consume = (topic: string) =>
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
        "--batch-size",
        "20",
        "--failures",
        `${topic}.jsonl`,
      ],
      {
        SIGNAL_INGEST_URL: proxy.address,
      },
    )
  const stored = async (topic: string) =>
    (
      await rig.query<{ raw_content: string }>(
        "select raw_content from signals where payload ->> 'topic' = $1 order by raw_content::int",
        [topic],
      )
    ).map(({ raw_content }) => Number(raw_content))
  const upTo = (count: number) => Array.from({ length: count }, (_, place) => place)

  it("stores every record once, with its place, and goes on where the group was", async () => {
    await produce("chat", 0, 100)
    const first = consume("chat")
    await expect.poll(() => stored("chat"), { timeout: 60_000 }).toEqual(upTo(100))
    first.child.kill("SIGINT")
    expect(await first.ended).toBe(130)
    const [row] = await rig.query(
      "select context_window_id, signal_source, dedupe_key, payload #>> '{headers,app}' as app from signals where raw_content = '7'",
    )
    expect(row).toEqual({
      context_window_id: "room-2",
      signal_source: "Kafka",
      dedupe_key: expect.stringMatching(/^kafka:chat\/\d\/\d+$/),
      app: "test",
    })

    const requests = proxy.seen.length
    await produce("chat", 100, 50)
    const second = consume("chat")
    await expect.poll(() => stored("chat"), { timeout: 60_000 }).toEqual(upTo(150))
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
      await expect.poll(() => proxy.seen.length, { timeout: 60_000, interval: 5 }).toBeGreaterThan(before + 4)
      child.kill("SIGKILL")
      await ended
    }
    const last = consume("storm")
    await expect.poll(() => stored("storm"), { timeout: 90_000 }).toEqual(upTo(1000))
    last.child.kill("SIGINT")
    await last.ended
    expect(await stored("storm")).toEqual(upTo(1000))
  })

  it("writes what can't be stored into the failures file, and goes on", async () => {
    await produce("odd", 0, 3, (place) =>
      place === 1 ? JSON.stringify({ context_window_id: "c", signal_score: 2 }) : JSON.stringify({ text: String(place) }),
    )
    const { child, ended } = consume("odd")
    await expect.poll(() => stored("odd"), { timeout: 60_000 }).toEqual([0, 2])
    await expect
      .poll(() => readFile(join(folder, "odd.jsonl"), "utf8").catch(() => ""))
      .toContain("signal_score must be between 0 and 1")
    child.kill("SIGINT")
    await ended
  })
})

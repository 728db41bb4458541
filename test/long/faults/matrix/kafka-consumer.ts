import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { Producer, stringSerializers } from "@platformatic/kafka"
import { start } from "../../../node/cli/import/importer.ts"
import { type Broker, HAS_KAFKA, startBroker } from "../../../setup/kafka.ts"
import type { Sender } from "./senders.ts"
import type { Stand } from "./stand.ts"

let broker: Promise<Broker> | undefined

/**
 * `signals consume kafka`: a record is acknowledged once the broker has it, and has to come into the table
 * from there.
 */
const kafkaConsumer: Sender = {
  name: "consume kafka",
  queued: false,
  async send(stand, texts) {
    broker ??= startBroker()
    const { address } = await broker
    const topic = `matrix-${texts[0]}`
    await produce(address, topic, texts)
    const folder = await mkdtemp(join(tmpdir(), "signal-ingest-matrix-"))
    try {
      while (!(await isConsumed(stand, address, topic, folder, texts.length))) await sleep(100)
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  },
}

export const stopBroker = async () => (await broker)?.stop()

export const KAFKA_SENDERS: Sender[] = HAS_KAFKA ? [kafkaConsumer] : []

async function produce(broker: string, topic: string, texts: readonly string[]): Promise<void> {
  const producer = new Producer({
    clientId: "matrix",
    bootstrapBrokers: [broker],
    serializers: stringSerializers,
    retries: 50,
    retryDelay: 200,
    autocreateTopics: true,
  })
  try {
    await producer.send({
      messages: texts.map((text) => ({ topic, key: "matrix", value: JSON.stringify({ text }) })),
    })
  } finally {
    await producer.close()
  }
}

/**
 * Runs a consumer until the table has `count` signals, or until it gives up, whereupon its operator starts it
 * again.
 */
async function isConsumed(
  stand: Stand,
  broker: string,
  topic: string,
  folder: string,
  count: number,
): Promise<boolean> {
  const args = [
    "consume",
    "kafka",
    "--brokers",
    broker,
    "--topic",
    topic,
    "--group",
    topic,
    "--batch-size",
    "5",
  ]
  const { child, ended } = start(folder, args, { SIGNAL_INGEST_URL: stand.address })
  const gaveUp = ended.then(() => true)
  for (;;) {
    const stored = await stand.storage
      .query<{ count: number }>("select count(*)::int4 as count from signals")
      .then(([row]) => row?.count === count)
      .catch(() => false)
    if (stored) {
      child.kill("SIGINT")
      await ended
      return true
    }
    if (await Promise.race([gaveUp, sleep(50).then(() => false)])) return false
  }
}

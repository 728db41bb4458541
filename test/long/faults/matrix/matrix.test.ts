import { setTimeout as sleep } from "node:timers/promises"
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest"
import { checkFile } from "../../../setup/history/check.ts"
import { historyPath, startHistory } from "../../../setup/history/record.ts"
import { recordTables } from "../../../setup/history/tables.ts"
import { KAFKA_SENDERS, stopBroker } from "./kafka-consumer.ts"
import { MISHAPS, type Mishap } from "./mishaps.ts"
import { SENDERS, type Sender } from "./senders.ts"
import { mountSmallDisk } from "./small-disk.ts"
import { type Stand, startStand } from "./stand.ts"

/** Enough for the few rows of a cell and Postgres' own log. */
const disk = await mountSmallDisk("300m")

/**
 * Why a mishap cannot meet a sender; undefined when it can.
 *
 * An outage of many days is played on a simulated clock for all that is queued: test/worker/queue. No other
 * sender is acknowledged during one.
 */
function cannotMeet(mishap: Mishap, sender: Sender): string | undefined {
  if (mishap.name === "the queue fails" && !sender.queued) return "it does not pass the queue"
  if (mishap.name === "the bucket fails" && sender.name !== "asynchronous batch")
    return "it does not pass the bucket"
  if (mishap.name === "the database's disk is full" && !disk) return "no file system can be mounted here"
  return undefined
}

let stand: Stand
let pumping = true
let pump: Promise<void>

beforeAll(async () => {
  stand = await startStand(disk)
  pump = (async () => {
    // As Cloudflare does, messages are handed to the consumer all the time.
    while (pumping) {
      await stand.pump()
      await sleep(20)
    }
  })()
})
afterAll(async () => {
  pumping = false
  await pump
  await stopBroker()
  await stand?.stop()
  await disk?.remove()
})
afterEach(() => stand.storage.query("truncate signals, batches, dedupe_keys, dead_letters"))

/** Longer than the 60 s that the consumer gives a statement, whose answer may stall. Ends only what hangs. */
const PATIENCE_MS = 240_000

const queueIsEmpty = () => expect.poll(() => stand.unsettled(), { timeout: PATIENCE_MS }).toBe(0)

const TEXTS = 15
let cell = 0

describe.each([...SENDERS, ...KAFKA_SENDERS])("$name", (sender) => {
  for (const mishap of MISHAPS) {
    const reason = cannotMeet(mishap, sender)
    if (reason !== undefined) {
      it.skip(`cannot meet this, since ${reason}: ${mishap.name}`)
      continue
    }
    it(`is stored exactly once after it is acknowledged, although ${mishap.name}`, {
      timeout: 4 * PATIENCE_MS,
    }, async () => {
      const texts = Array.from({ length: TEXTS }, (_, index) => `${cell}-${index}`)
      cell++
      const history = await startHistory(historyPath(`${sender.name}, ${mishap.name}`))
      stand.proxy.history = history
      await mishap.begin(stand)
      const sent = sender.send(stand, texts)
      const done = sender.queued ? sent.then(queueIsEmpty) : sent
      await Promise.race([done, sleep(mishap.lastsMs)])
      await mishap.end(stand)
      await sent
      await queueIsEmpty()
      const counts = () =>
        stand.storage.query<{ text: string; count: number }>(
          "select raw_content as text, count(*)::int4 as count from signals group by 1",
        )
      await expect.poll(async () => (await counts()).length, { timeout: PATIENCE_MS }).toBe(TEXTS)
      expect((await counts()).filter(({ count }) => count !== 1)).toEqual([])
      expect(await stand.storage.query("select reason from dead_letters")).toEqual([])
      stand.proxy.history = undefined
      await recordTables(history, stand.storage.query)
      await history.close()
      expect(await checkFile(history.path)).toEqual([])
    })
  }
})

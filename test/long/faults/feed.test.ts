import { setTimeout as sleep } from "node:timers/promises"
import { Client } from "pg"
import { afterAll, beforeAll, expect, it } from "vitest"
import { insertByHalves } from "../../../src/store/batches/by-halves.ts"
import { recordFailedBatch, recordSameBatch } from "../../../src/store/batches/failed.ts"
import { insertMany } from "../../../src/store/batches/insert-many.ts"
import { encodeColumns } from "../../../src/store/batches/statement.ts"
import { type FeedPosition, OLDEST, readFeed } from "../../../src/store/signals/feed.ts"
import { batchOf, databaseOn } from "../../node/store/statements.ts"
import { seededRandom } from "../../setup/random.ts"
import { type Storage, startStorage } from "../../setup/rig.ts"

/** `FEED=long`: an hour in which each writer begins a transaction every second. */
const LONG = process.env.FEED === "long"
const WRITERS = 8
const READERS = 3
const TRANSACTIONS = LONG ? 3600 : 50
const LONGEST_HOLD_MS = LONG ? 60 : 40
const SEED = Number(process.env.FEED_SEED ?? Math.floor(Math.random() * 2 ** 31))

let storage: Storage

beforeAll(async () => {
  storage = await startStorage()
  await storage.query("alter system set deadlock_timeout = '20ms'")
  await storage.query("select pg_reload_conf()")
})
afterAll(() => storage?.stop())

/** Postgres ended the transaction: killed, deadlock, or the connection was lost with its server process. */
const DEADLOCK = "40P01"

/**
 * Transactions of several batches can meet in a deadlock. The store gives its code as `reason`, the driver as
 * `code`.
 */
const isLoss = (error: unknown) =>
  error instanceof Error &&
  (/terminat|not queryable/i.test(error.message) ||
    (error as { code?: string }).code === DEADLOCK ||
    (error as { reason?: string }).reason === DEADLOCK)

async function connected(): Promise<Client> {
  const client = new Client({ connectionString: storage.postgres.url })
  client.on("error", () => {})
  await client.connect()
  return client
}

type Ending = "committed" | "rolled back" | "killed" | "lost"

/**
 * Writes batches in a transaction in every way of the service, holds it open, and ends it: `random` decides.
 */
async function transaction(client: Client, random: () => number): Promise<Ending> {
  const upTo = (most: number) => Math.floor(random() * (most + 1))
  const batch = () =>
    batchOf(
      Array.from({ length: upTo(30) }, () => ({
        context_window_id: "c",
        // Some are duplicates, and wait for the transaction that holds their key.
        ...(random() < 0.1 && { dedupe_key: `k-${upTo(500)}` }),
      })),
    )
  const db = databaseOn(client)
  await client.query("begin")
  for (let left = upTo(2); left >= 0; left--) {
    const way = random()
    const written = batch()
    if (way < 0.7)
      await insertMany(db, [
        { batch: written, deadLetters: [] },
        ...(way < 0.3 ? [{ batch: batch(), deadLetters: [] }] : []),
      ])
    else if (way < 0.85)
      await insertByHalves(db, { batch: written, deadLetters: undefined }, encodeColumns(written.plan.rows))
    else if (way < 0.93) await recordFailedBatch(db, written, { reason: "broken", failures: [] })
    else {
      await insertMany(db, [{ batch: written, deadLetters: [] }])
      await recordSameBatch(db, batch(), written.transactionId)
    }
    await sleep(random() < 0.5 ? 0 : upTo(LONGEST_HOLD_MS))
  }
  const ending = random()
  if (ending < 0.7) await client.query("commit")
  else if (ending < 0.85) await client.query("rollback")
  else await client.query("select pg_terminate_backend(pg_backend_pid())")
  return ending < 0.7 ? "committed" : "rolled back"
}

async function writer(random: () => number, count: (ending: Ending) => void): Promise<void> {
  let client = await connected()
  for (let left = TRANSACTIONS; left > 0; left--) {
    const ending = await transaction(client, random).catch((error): Ending => {
      if (!isLoss(error)) throw error
      return (error as { code?: string }).code === "57P01" ? "killed" : "lost"
    })
    count(ending)
    if (ending === "killed" || ending === "lost") {
      await client.end().catch(() => {})
      client = await connected()
    }
  }
  await client.end()
}

/** Follows the feed, and keeps each page together with its position, or neither when it stops in between. */
async function reader(
  random: () => number,
  isOver: () => boolean,
): Promise<{ ids: number[]; pages: number }> {
  let client = await connected()
  const ids: number[] = []
  let kept: FeedPosition = OLDEST
  for (let pages = 0; ; pages++) {
    // Before the read: what is committed by then must be in the feed.
    const over = isOver()
    const page = await readFeed(databaseOn(client), {
      after: kept,
      limit: 1 + Math.floor(random() * 60),
      ledgerDays: 90,
    })
    if (random() < 0.2) {
      await client.end()
      await sleep(random() * LONGEST_HOLD_MS)
      client = await connected()
      continue
    }
    ids.push(...page.signals.map(({ id }) => id))
    kept = page.next
    if (over && !page.more) {
      await client.end()
      return { ids, pages }
    }
    if (!page.more) await sleep(random() * 5)
  }
}

it(`readers that stop and continue see every signal of ${WRITERS * TRANSACTIONS} transactions once, in one order (FEED_SEED=${SEED})`, {
  timeout: LONG ? 3_600_000 : 300_000,
}, async () => {
  const endings: Record<Ending, number> = { committed: 0, "rolled back": 0, killed: 0, lost: 0 }
  let writing = true
  const readers = Array.from({ length: READERS }, (_, index) =>
    reader(seededRandom(SEED + 1000 + index), () => !writing),
  )
  const writers = Array.from({ length: WRITERS }, (_, index) =>
    writer(seededRandom(SEED + index), (ending) => endings[ending]++),
  )
  const startedAt = Date.now()
  await Promise.all(writers).finally(() => {
    writing = false
  })
  const [first, ...others] = await Promise.all(readers)
  const ids = first?.ids ?? []
  const stored = (await storage.query<{ id: string }>("select id from signals order by id")).map(({ id }) =>
    Number(id),
  )
  const jumps = ids.filter((id, index) => id < (ids[index - 1] ?? 0)).length
  console.info({
    seed: SEED,
    ms: Date.now() - startedAt,
    ...endings,
    signals: stored.length,
    jumps,
    pages: first?.pages,
  })

  for (const other of others) expect(other.ids).toEqual(ids)
  expect(ids.toSorted((a, b) => a - b)).toEqual(stored)
  // The order of ids is another one, so that a feed by id would have missed signals.
  expect(jumps).toBeGreaterThan(0)
  expect(Object.values(endings).slice(0, 3)).not.toContain(0)
})

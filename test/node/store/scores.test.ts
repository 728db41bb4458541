import { Client } from "pg"
import { uuidv7 } from "uuidv7"
import { afterEach, describe, expect, it } from "vitest"
import { planScores } from "../../../src/scores/plan.ts"
import type { Score } from "../../../src/scores/score.ts"
import type { NewScores } from "../../../src/store/batches/batch.ts"
import { writeScores } from "../../../src/store/batches/scores.ts"
import type { Database } from "../../../src/store/database/connection.ts"
import { makePartitions } from "../../../src/store/database/partitions.ts"
import { eraseStored, finishErasure } from "../../../src/store/lifecycle/erase.ts"
import { enterErasure } from "../../../src/store/lifecycle/erasures.ts"
import {
  deleteExpiredSignals,
  deleteScoresOfDropped,
  dropExpiredPartitions,
} from "../../../src/store/lifecycle/retention.ts"
import { useSmallPartitions } from "./small-partitions.ts"
import { databaseOn, write } from "./statements.ts"

const SIZE = 1000
const { storage, database } = useSmallPartitions(SIZE)

const clients: Client[] = []
async function connected(): Promise<Client> {
  const client = new Client({ connectionString: storage.postgres.url })
  await client.connect()
  clients.push(client)
  return client
}
afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.end()))
  await storage.query("truncate signal_scores, waiting_scores, erasures, suppressions")
})

const batchOf = (scores: Score[]): NewScores => ({
  kind: "scores",
  transactionId: uuidv7(),
  caller: "tests",
  plan: planScores(scores, "2026-01-02T03:04:05.000000Z", undefined),
  allOrNothing: false,
})

const idsOf = async (client: Client, signals: Parameters<typeof write>[1]) =>
  (await write(client, signals)).map(([id]) => id)

/** Every order of six positions. */
const orders = (left: number[]): number[][] =>
  left.length === 0
    ? [[]]
    : left.flatMap((one) => orders(left.filter((other) => other !== one)).map((rest) => [one, ...rest]))

const at = (minute: number) => `2026-01-01T00:0${minute}:00.000000Z`

/** Two of them have the same time and different scorers, two the same time and scorer. */
const SCORES: Omit<Score, "signal_id">[] = [
  { scored_at: at(1), signal_score: 0.1, emotional_tone: 0.1, escalate_flag: 0, scorer: "a" },
  { scored_at: at(3), signal_score: 0.3, scorer: "B" },
  { scored_at: at(3), signal_score: 0.2, scorer: "a" },
  { scored_at: at(5), emotional_tone: 0.5, scorer: "b" },
  { scored_at: at(5), emotional_tone: 0.4, escalate_flag: 1, scorer: "b" },
  { scored_at: at(2), escalate_flag: 0 },
]
const NEWEST = { signal_score: 0.2, emotional_tone: 0.5, escalate_flag: 1 }

/** Signals with ids from `first`, one for each order. */
const fill = (first: number, count: number, user: string) =>
  storage.query(
    `insert into signals (id, transaction_id, time, received_at, context_window_id, signal_source, signal_score, escalate_flag, user_id)
     overriding system value
     select n, '00000000-0000-7000-8000-000000000001', now(), now(), 'c', 's', 0.9, 0, $3
     from generate_series($1::int4, $1::int4 + $2::int4 - 1) as n`,
    [first, count, user],
  )

async function erase(db: Database, subject: string): Promise<void> {
  const target = { kind: "user_id", subject } as const
  const request = { requestedBy: "tests", target, suppress: false, idempotency: undefined }
  const { id } = (await enterErasure(db, request)).record
  await eraseStored(db, id, { untilMs: Date.now() + 20_000, beforeDeadLetters: async () => {} })
  await finishErasure(db, id)
}

const scoresLeft = () =>
  storage.query<{ signals: number; scores: number }>(
    "select count(distinct signal_id)::int4 as signals, count(*)::int4 as scores from signal_scores",
  )

describe("six scores of a signal", () => {
  it("lead to the same end in each order of arrival, an erasure and a dropped partition among them", async () => {
    const all = orders([0, 1, 2, 3, 4, 5])
    expect(all).toHaveLength(720)
    const db = database()
    const times = [0, 1, 2, 3, 4, 5, 6]
    // A partition for each time of a drop, then one for each time of an erasure, and one that stays.
    const firsts = Array.from({ length: 15 }, (_, group) => group * SIZE + 1)
    await makePartitions(db, 16 * SIZE)
    await storage.query("select setval('signals_id_seq', $1)", [16 * SIZE])
    for (const [group, first] of firsts.entries()) await fill(first, all.length, `group ${group}`)

    for (const time of times) {
      await storage.query(
        "update signals set received_at = now() - interval '40 days' where id between $1::int4 and $1::int4 + 999",
        [time * SIZE],
      )
      expect(await dropExpiredPartitions(db, 30)).toBe(1)
      await erase(db, `group ${7 + time}`)
      if (time === 6) break
      const sent = firsts.flatMap((first) =>
        all.map((order, n) => ({ signal_id: first + n, ...SCORES[order[time] as number] })),
      )
      const { stored, failures } = await writeScores(db, batchOf(sent))
      expect([stored.length, failures.length]).toEqual([
        (13 - 2 * time) * all.length,
        (2 * time + 2) * all.length,
      ])
      expect(new Set(failures.map(({ code }) => code))).toEqual(new Set(["unknown_signal"]))
    }
    expect(
      await storage.query(
        `select signal_score, emotional_tone, escalate_flag, count(*)::int4 as count, min(user_id) as first, max(user_id) as last
         from signals group by 1, 2, 3`,
      ),
    ).toEqual([{ ...NEWEST, count: all.length, first: "group 14", last: "group 14" }])
    await deleteScoresOfDropped(db)
    expect(await scoresLeft()).toEqual([{ signals: all.length, scores: 6 * all.length }])
  }, 120_000)
})

describe("the scores of a signal", () => {
  const scoreOf = (id: number | null | undefined, signal_score = 0.7) =>
    batchOf([{ signal_id: id, signal_score, scored_at: at(1) }])

  it("go with a signal that retention deletes row by row, or its source", async () => {
    const client = await connected()
    await makePartitions(database(), 1)
    const [old, kept] = await idsOf(client, [
      { context_window_id: "c", dedupe_key: "slack:T/C/1" },
      { context_window_id: "c", dedupe_key: "slack:T/C/2" },
    ])
    for (const id of [old, kept]) await writeScores(databaseOn(client), scoreOf(id))
    await storage.query("update signals set received_at = now() - interval '40 days' where id = $1", [old])
    expect(await deleteExpiredSignals(database(), 30)).toBe(1)
    expect(await storage.query("select signal_id::int4 from signal_scores")).toEqual([{ signal_id: kept }])
    await storage.query("select delete_signals_by_key('{slack:T/C/2}')")
    expect(await scoresLeft()).toEqual([{ signals: 0, scores: 0 }])
  })

  const waiting = async (client: Client) =>
    (
      await storage.query("select from pg_locks where not granted and pid = $1", [
        (client as unknown as { processID: number }).processID,
      ])
    ).length

  it("go with it when they are being stored as it is deleted", async () => {
    const [scorer, eraser] = [await connected(), await connected()]
    await makePartitions(database(), 1)
    const [id] = await idsOf(scorer, [{ context_window_id: "c" }])
    await scorer.query("begin")
    await writeScores(databaseOn(scorer), scoreOf(id))
    const erased = eraser.query("delete from signals where id = $1", [id])
    await expect.poll(() => waiting(eraser)).toBe(1)
    await scorer.query("commit")
    expect((await erased).rowCount).toBe(1)
    expect(await scoresLeft()).toEqual([{ signals: 0, scores: 0 }])
  })

  it("are not stored when it is being deleted, and never bring it back", async () => {
    const [scorer, eraser] = [await connected(), await connected()]
    await makePartitions(database(), 1)
    const [id] = await idsOf(scorer, [{ context_window_id: "c" }])
    await eraser.query("begin")
    await eraser.query("delete from signals where id = $1", [id])
    const scored = writeScores(databaseOn(scorer), scoreOf(id))
    await expect.poll(() => waiting(scorer)).toBe(1)
    await eraser.query("commit")
    expect((await scored).failures).toMatchObject([{ code: "unknown_signal", retryable: true }])
    expect(await storage.query("select from signals")).toEqual([])
    expect(await scoresLeft()).toEqual([{ signals: 0, scores: 0 }])
  })

  it("are complete for every batch of several at once, whatever their order in it", async () => {
    const four = await Promise.all([connected(), connected(), connected(), connected()])
    await makePartitions(database(), 200)
    const ids = (
      await write(
        four[0],
        Array.from({ length: 100 }, () => ({ context_window_id: "c" })),
      )
    ).map(([id]) => id)
    await Promise.all(
      four.map(async (client, writer) => {
        for (let round = 0; round < 10; round++) {
          const shuffled = writer % 2 === 0 ? ids : ids.toReversed()
          const scores = shuffled.map((signal_id) => ({
            signal_id,
            signal_score: (10 * writer + round) / 100,
            scored_at: `2026-01-01T00:00:${10 + 10 * writer + round}.000000Z`,
          }))
          await writeScores(databaseOn(client), batchOf(scores))
        }
      }),
    )
    expect(
      await storage.query("select signal_score, count(*)::int4 as count from signals group by 1"),
    ).toEqual([{ signal_score: 0.39, count: 100 }])
    expect(await scoresLeft()).toEqual([{ signals: 100, scores: 4000 }])
  })

  it("are stored once when a statement is run again under the same transaction id", async () => {
    const client = await connected()
    await makePartitions(database(), 1)
    const [id] = await idsOf(client, [{ context_window_id: "c" }])
    const batch = batchOf([
      { signal_id: id, signal_score: 0.7, scored_at: at(1) },
      { dedupe_key: "none", signal_score: 0.7, scored_at: at(1) },
      { signal_id: id, signal_score: 0.7, scored_at: at(1) },
    ])
    const first = await writeScores(databaseOn(client), batch)
    const again = await writeScores(databaseOn(client), batch)
    expect(again).toEqual({ ...first, isNew: false })
    expect(await scoresLeft()).toEqual([{ signals: 1, scores: 1 }])
  })
})

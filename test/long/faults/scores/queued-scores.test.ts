import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach, describe, expect, inject, it } from "vitest"
import { descendants, signalAll } from "../../../setup/processes.ts"
import { type QueuedBundle, runQueuedBundle } from "../../../setup/queued-bundle.ts"
import { type Storage, startStorage } from "../../../setup/rig.ts"

/** The cron trigger of the sweep, and a time at which every claim check is overdue. */
const SWEEP = "17 * * * *"
const later = () => new Date(Date.now() + 2 * 60 * 60 * 1000)

const SIZE = 20
const BATCHES = 24

let storage: Storage
let service: QueuedBundle
let folder: string
let ids: number[]

const start = () =>
  runQueuedBundle(inject("bundle"), { ...storage.bindings, DATABASE_DEADLINE_MS: "2000" }, { keptIn: folder })

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "signal-ingest-bucket-"))
  storage = await startStorage()
  service = await start()
  const signals = Array.from({ length: SIZE }, () => ({ context_window_id: "all" }))
  expect((await send("/api/signals/batch", { signals })).status).toBe(200)
  ids = (await storage.query<{ id: string }>("select id from signals order by id")).map(({ id }) =>
    Number(id),
  )
})
afterEach(async () => {
  await service?.stop()
  await storage?.stop()
  await rm(folder, { recursive: true, force: true })
})

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

/** Sends until the service answers, under one key, as a client does. */
async function send(path: string, body: object, headers: Record<string, string> = {}): Promise<Response> {
  const init = {
    method: "POST",
    headers: { "Content-Type": "application/json", "Idempotency-Key": crypto.randomUUID(), ...headers },
    body: JSON.stringify(body),
  }
  for (;;) {
    const response = await fetch(service.address + path, init).catch(() => undefined)
    if (response && response.status < 500) return response
    await pause(50)
  }
}

/** A score of each signal, of its own scorer; they have no time, so that accepting them twice would show. */
const scoresOf = (scorer: string) => ({
  scores: ids.map((signal_id, n) => ({ signal_id, signal_score: n / SIZE, scorer })),
})

const workers = async () =>
  (await descendants(process.pid)).filter(({ command }) => command.includes("workerd serve"))

const freeze = (signal: NodeJS.Signals) => signalAll(storage.postgres.pid, signal)

/** What goes wrong between batches. A message in the queue of the tests does not outlive its Worker. */
const MISHAPS: Record<string, () => Promise<void> | void> = {
  nothing: () => {},
  "the database's answers are lost": () => {
    storage.endpoint.faults.loseAnswers = 4
  },
  "the database's answers are cut": () => {
    storage.endpoint.faults.spoil = ["cut", "cut", "cut"]
  },
  "the database is killed": async () => {
    await storage.postgres.kill()
    await pause(300)
    await storage.postgres.restart()
  },
  "the database is frozen": async () => {
    await freeze("SIGSTOP")
    await pause(2500)
    await freeze("SIGCONT")
  },
  "the consumer is killed": async () => {
    for (const { pid } of await workers()) process.kill(pid, "SIGKILL")
    await service.stop()
    service = await start()
  },
  "the consumer stops in order": async () => {
    await service.stop()
    service = await start()
  },
}

describe("scores with Prefer: respond-async", () => {
  it.each(Object.keys(MISHAPS))(
    "are stored once each when %s, also when they are sent twice",
    async (mishap) => {
      const scorers = Array.from({ length: BATCHES }, (_, batch) => `judge ${batch}`)
      const transactions: string[] = []
      for (const [batch, scorer] of scorers.entries()) {
        const key = { "Idempotency-Key": crypto.randomUUID(), Prefer: "respond-async" }
        const accepted = send("/api/scores", scoresOf(scorer), key)
        if (batch % 8 === 3) await MISHAPS[mishap]?.()
        const answers = [await accepted, await send("/api/scores", scoresOf(scorer), key)]
        const [first, second] = (await Promise.all(answers.map((answer) => answer.json()))) as {
          transaction_id: string
        }[]
        for (const { status } of answers) expect([200, 202]).toContain(status)
        expect(second?.transaction_id).toBe(first?.transaction_id)
        transactions.push(first?.transaction_id ?? "")
      }
      const unstored = async () => {
        await service.runCron(SWEEP, later()).catch(() => {})
        const [row] = await storage.query<{ stored: number }>(
          "select count(*)::int4 as stored from batches where transaction_id = any($1::uuid[]) and kind = 'scores' and state = 'stored'",
          [transactions],
        )
        return BATCHES - (row?.stored ?? 0)
      }
      await expect.poll(unstored, { interval: 500 }).toBe(0)
      const [row] = await storage.query<{ wrong: number; ledger: number; foreign: number; behind: number }>(
        `select
         (select count(*)::int4 from (
           select from unnest($1::text[]) as sent (scorer) left join signal_scores using (scorer)
           group by scorer having count(*) <> $2 or count(distinct signal_id) <> $2
         ) as wrong) as wrong,
         -- A batch that was stored before under its key has a row of its own, which says so.
         (select count(*)::int4 from batches where kind = 'scores' and reason is null) as ledger,
         (select count(*)::int4 from signal_scores where not scorer = any($1::text[])) as foreign,
         (select count(*)::int4 from signals where signal_score <> (
           select signal_score from signal_scores where signal_id = id
           order by scored_at desc, scorer collate "C" desc limit 1
         )) as behind`,
        [scorers, SIZE],
      )
      expect(row).toEqual({ wrong: 0, ledger: BATCHES, foreign: 0, behind: 0 })
      const record = await fetch(`${service.address}/api/batches/${transactions[0]}`)
      expect(await record.json()).toMatchObject({ kind: "scores", state: "stored", successful_count: SIZE })
    },
  )
})

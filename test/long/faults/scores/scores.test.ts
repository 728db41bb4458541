import { afterAll, beforeAll, beforeEach, describe, expect, inject, it } from "vitest"
import type { SpoiledAnswer } from "../../../../src/local/neon/endpoint.ts"
import { signalAll } from "../../../setup/processes.ts"
import { type Rig, sendBatch, startRig } from "../../../setup/rig.ts"
import { runBundle } from "../../../setup/workerd.ts"

const SIZE = 20
/** Longer than the deadline of a request. */
const FROZEN_MS = 3000
const SETTINGS = { DATABASE_DEADLINE_MS: "2000" }

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

let rig: Rig
let ids: number[]

beforeAll(async () => {
  rig = await startRig(SETTINGS)
})
afterAll(async () => {
  await rig?.service.stop()
  await rig?.stop()
})
beforeEach(async () => {
  await rig.query("truncate signals, batches, dedupe_keys, signal_scores")
  await sendBatch(rig)
  ids = (await rig.query<{ id: string }>("select id from signals order by id")).map(({ id }) => Number(id))
})

/**
 * A score of each signal. It has no time of its own, so that a request that is carried out again has other
 * scores: the database would keep them beside the first.
 */
async function sendScores(scorer: string, headers: Record<string, string> = {}) {
  const scores = ids.map((signal_id, n) => ({ signal_id, signal_score: n / SIZE, scorer }))
  const response = await fetch(`${rig.service.address}/api/scores`, {
    method: "POST",
    headers: { "Content-Type": "application/json", ...headers },
    body: JSON.stringify({ scores }),
  })
  return {
    status: response.status,
    body: (await response.json()) as { successful_count?: number; transaction_id?: string },
  }
}

/** The scorers of which a signal has no score, or two; and the ledger's rows of scores. */
async function misapplied(scorers: readonly string[]) {
  const [row] = await rig.query<{ wrong: number; ledger: number; foreign: number }>(
    `select
       (select count(*)::int4 from (
         select from unnest($1::text[]) as sent (scorer) left join signal_scores using (scorer)
         group by scorer having count(*) <> $2 or count(distinct signal_id) <> $2
       ) as wrong) as wrong,
       (select count(*)::int4 from batches where kind = 'scores') as ledger,
       (select count(*)::int4 from signal_scores where not scorer = any($1::text[])) as foreign`,
    [scorers, SIZE],
  )
  return row
}

describe("scores whose answer is lost between database and service", () => {
  it("are stored once, each time", async () => {
    const scorers = Array.from({ length: 25 }, (_, turn) => `judge ${turn}`)
    for (const [turn, scorer] of scorers.entries()) {
      rig.endpoint.faults.loseAnswers = 1 + (turn % 3)
      const { status, body } = await sendScores(scorer)
      expect([status, body.successful_count]).toEqual([200, SIZE])
    }
    expect(await misapplied(scorers)).toEqual({ wrong: 0, ledger: 25, foreign: 0 })
  })

  it.each<SpoiledAnswer>(["cut", { status: 200, page: "<html>hello</html>" }])(
    "are stored once when it is spoiled: %j",
    async (spoiled) => {
      rig.endpoint.faults.spoil = [spoiled, spoiled, spoiled]
      const { status, body } = await sendScores("judge")
      expect([status, body.successful_count, rig.endpoint.faults.spoil]).toEqual([200, SIZE, []])
      expect(await misapplied(["judge"])).toEqual({ wrong: 0, ledger: 1, foreign: 0 })
    },
  )

  it("are in doubt when it stalls until the deadline, and the ledger has them", async () => {
    rig.endpoint.faults.spoil = ["stall"]
    const key = { "Idempotency-Key": crypto.randomUUID() }
    const { status, body } = await sendScores("judge", key)
    expect([status, body]).toMatchObject([503, { code: "in_doubt" }])
    const record = await fetch(`${rig.service.address}/api/batches/${body.transaction_id}`)
    expect(await record.json()).toMatchObject({ kind: "scores", state: "stored", successful_count: SIZE })
    const again = await sendScores("judge", key)
    expect([again.status, again.body.transaction_id]).toEqual([200, body.transaction_id])
    expect(await misapplied(["judge"])).toEqual({ wrong: 0, ledger: 1, foreign: 0 })
  })
})

const freeze = (signal: NodeJS.Signals) => signalAll(rig.postgres.pid, signal)

/** What happens while scores are sent. */
const OUTAGES: Record<string, () => Promise<void>> = {
  "Postgres killed": async () => {
    await rig.postgres.kill()
    await rig.postgres.restart()
  },
  "Postgres frozen": async () => {
    await freeze("SIGSTOP")
    await pause(FROZEN_MS)
    await freeze("SIGCONT")
  },
  "the service stopped in order": async () => {
    await rig.service.stop()
    rig.service = await runBundle(inject("bundle"), { ...rig.bindings, ...SETTINGS })
  },
}

describe.each(Object.keys(OUTAGES))("%s while scores are sent", (outage) => {
  it("loses, doubles and splits none that are acknowledged", async () => {
    const acknowledged: string[] = []
    const enough = Promise.withResolvers<void>()
    let done = false
    const sender = async () => {
      while (!done) {
        const key = { "Idempotency-Key": crypto.randomUUID() }
        const scorer = crypto.randomUUID()
        while ((await sendScores(scorer, key).catch(() => undefined))?.status !== 200) await pause(20)
        acknowledged.push(scorer)
        if (acknowledged.length === 30) enough.resolve()
      }
    }
    const senders = Array.from({ length: 6 }, sender)
    await enough.promise
    await OUTAGES[outage]?.()
    const before = acknowledged.length
    await expect.poll(() => acknowledged.length).toBeGreaterThan(before + 30)
    done = true
    await Promise.all(senders)
    expect(await misapplied(acknowledged)).toEqual({ wrong: 0, ledger: acknowledged.length, foreign: 0 })
    const [row] = await rig.query<{ behind: number }>(
      `select count(*)::int4 as behind from signals where signal_score <> (
         select signal_score from signal_scores where signal_id = id order by scored_at desc, scorer collate "C" desc limit 1
       )`,
    )
    expect(row).toEqual({ behind: 0 })
  })
})

import { setTimeout as sleep } from "node:timers/promises"
import { checkFile } from "../../setup/history/check.ts"
import { recordedFetch } from "../../setup/history/fetch.ts"
import { historyPath, type Recorder, startHistory } from "../../setup/history/record.ts"
import { recordTables } from "../../setup/history/tables.ts"
import { seededRandom } from "../../setup/random.ts"
import type { Bundle } from "../../setup/workerd.ts"
import { differences } from "./check.ts"
import { injectFaults } from "./faults.ts"
import { erased, Model } from "./model.ts"
import { sendSlack } from "./slack.ts"
import { type Stand, startStand } from "./stand.ts"
import {
  PATIENCE_MS,
  readBack,
  readForHistory,
  replayDeadLetters,
  sendBatch,
  sendErasure,
  sendKafka,
  sendSingle,
  type Traffic,
} from "./traffic.ts"

export interface StressReport {
  requests: number
  rows: number
  fed: number
  statuses: [string, number][]
  faults: Map<string, number>
  differences: string[]
  /** The path of the history, which was checked too. */
  history: string
}

const SENDERS = 12
const FEED_READERS = 3
/** The average pause between two faults. */
const FAULT_PAUSE_MS = 2500
const SWEEP_PAUSE_MS = 5000
/** The run fails when the queue is not empty, or an erasure not done, so long after the last request. */
const SETTLING_MS = 900_000

/** Runs the service under faults, and compares its tables with the promises of its answers. */
export async function stress(
  bundle: Omit<Bundle, "remove">,
  { seed, minutes, random }: { seed: number; minutes: number; random: () => number },
): Promise<StressReport> {
  const history = await startHistory(historyPath(`stress-${seed}`))
  const stand = await startStand(bundle)
  const model = new Model()
  const endsAt = Date.now() + minutes * 60_000
  let settled = false
  const isOver = () => Date.now() >= endsAt
  try {
    const background = [
      repeat(
        () => settled,
        20,
        () => stand.pump(),
      ),
      repeat(
        () => settled,
        SWEEP_PAUSE_MS,
        () => stand.sweep(),
      ),
    ]
    const readers = Array.from({ length: FEED_READERS }, (_, index) =>
      followFeed(stand, {
        history,
        client: `reader ${index}`,
        isOver: () => settled,
        onPage: (ids) => index === 0 && model.fed.push(...ids),
      }),
    )
    const faults = injectFaults(stand, seededRandom(seed + 1), { isOver, pauseMs: FAULT_PAUSE_MS })
    const senders = Array.from({ length: SENDERS }, (_, index) =>
      send(
        {
          address: stand.address,
          fetch: recordedFetch(history, `sender ${index}`),
          model,
          random,
          name: `${seed}-${index}`,
        },
        isOver,
      ),
    )
    await Promise.all(senders)
    const injected = await faults
    Object.assign(stand.endpoint.faults, { loseAnswers: 0, spoil: [], failures: [] })
    stand.queue.fails = false
    const unsettled = await settle(stand)
    settled = true
    await Promise.all([...background, ...readers])
    await endHistory(stand, history)
    const [count] = await stand.query<{ rows: number }>("select count(*)::int4 as rows from signals")
    return {
      requests: model.requests,
      rows: count?.rows ?? 0,
      fed: model.fed.length,
      statuses: [...model.statuses].sort(([a], [b]) => a.localeCompare(b)),
      faults: injected,
      differences: [...unsettled, ...(await differences(stand, model)), ...(await checkFile(history.path))],
      history: history.path,
    }
  } finally {
    settled = true
    await history.close()
    await stand.stop()
  }
}

async function repeat(isOver: () => boolean, pauseMs: number, work: () => Promise<void>): Promise<void> {
  while (!isOver()) {
    await work()
    await sleep(pauseMs)
  }
}

/** Ways in, each as often as its share. */
const WAYS: [number, (traffic: Traffic) => Promise<void>][] = [
  [0.4, sendBatch],
  [0.2, sendSingle],
  [0.15, sendKafka],
  [0.1, sendSlack],
  [0.02, sendErasure],
  [0.01, replayDeadLetters],
  [0.04, readForHistory],
  [0.08, (traffic) => readBack(traffic, (signal) => erased(signal, traffic.model.erasures) !== "no")],
]

async function send(traffic: Traffic, isOver: () => boolean): Promise<void> {
  while (!isOver()) {
    let share = traffic.random()
    for (const [part, way] of WAYS) {
      share -= part
      if (share >= 0) continue
      await way(traffic)
      break
    }
  }
}

/** Waits until the queue is empty and no erasure runs. */
async function settle({ unsettledMessages, query }: Stand): Promise<string[]> {
  const givesUpAt = Date.now() + SETTLING_MS
  for (let calmChecks = 0; calmChecks < 20; ) {
    const [row] = await query<{ running: number }>(
      "select count(*)::int4 as running from erasures where phase <> 'done'",
    )
    const isCalm = unsettledMessages() === 0 && row?.running === 0
    calmChecks = isCalm ? calmChecks + 1 : 0
    if (Date.now() > givesUpAt)
      return [`not settled: ${unsettledMessages()} messages, ${row?.running} erasures`]
    await sleep(250)
  }
  return []
}

interface FeedPage {
  signals: { id: number }[]
  next_cursor: string
  more: boolean
  lag_seconds: number
}

interface Following {
  history: Recorder
  client: string
  isOver: () => boolean
  onPage: (ids: readonly number[]) => void
}

/** Follows the feed until the run is over, and then to its end. */
async function followFeed({ address }: Stand, following: Following): Promise<void> {
  const { history, client, isOver, onPage } = following
  let after = ""
  for (;;) {
    const wasOver = isOver()
    const read = recordedFetch(history, client, wasOver)
    const response = await read(`${address}/api/signals/feed?limit=500${after && `&after=${after}`}`, {
      signal: AbortSignal.timeout(PATIENCE_MS),
    }).catch(() => undefined)
    const page = response?.ok
      ? ((await response.json().catch(() => undefined)) as FeedPage | undefined)
      : undefined
    if (page) {
      onPage(page.signals.map(({ id }) => id))
      after = page.next_cursor
      if (wasOver && !page.more && page.lag_seconds === 0) return
    }
    if (!page?.more) await sleep(50)
  }
}

/** Notes what is read when nothing is under way: the statistics, and the tables. */
async function endHistory({ address, query }: Stand, history: Recorder): Promise<void> {
  await recordedFetch(history, "ending", true)(`${address}/api/signals/stats?since=2000-01-01T00:00:00Z`)
  await recordTables(history, query)
  await history.close()
}

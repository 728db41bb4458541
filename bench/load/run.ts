import { parseArgs } from "node:util"
import { checkFile } from "../../test/setup/history/check.ts"
import { type Recorder, startHistory } from "../../test/setup/history/record.ts"
import { recordTables } from "../../test/setup/history/tables.ts"
import { openConnection } from "../harness/database.ts"
import { makeBatches, makeSignals } from "../harness/signals.ts"
import { type Stack, startStack } from "../harness/stack.ts"
import { quantile } from "../harness/statistics.ts"
import { type Answers, load } from "./callers.ts"
import { type Crowd, crowd, held } from "./crowd.ts"
import { soak } from "./soak.ts"

/**
 * `npm run bench:load`: measures the service with more callers than it has room for, with a database that
 * freezes for two seconds under 80 % of its greatest load, and with crowds while the Worker has a sixth of a
 * core. The Worker has a heap of 128 MiB, as an isolate at Cloudflare. `--history FILE` notes what the
 * callers of the levels and the soak send and are answered, and checks it; the callers then cost more CPU.
 */
const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "8" },
    minutes: { type: "string", default: "1" },
    callers: { type: "string", default: "1,8,32,128,200,1000" },
    crowd: { type: "string", default: "45" },
    history: { type: "string" },
  },
})
/** A small core shared with others. */
const HELD_SHARE = 1 / 6
const levelMs = Number(values.seconds) * 1000
const soakMs = Number(values.minutes) * 60_000

const SIZES = [
  {
    name: "500 a batch",
    path: "/api/signals/batch",
    bodies: makeBatches(500).map((signals) => JSON.stringify({ signals })),
    signals: 500,
  },
  {
    name: "100 a batch",
    path: "/api/signals/batch",
    bodies: makeBatches(100).map((signals) => JSON.stringify({ signals })),
    signals: 100,
  },
  {
    name: "1, POST /api/signals",
    path: "/api/signals",
    bodies: makeSignals(400).map((signal) => JSON.stringify(signal)),
    signals: 1,
  },
]

const stack = await startStack()
const worker = await stack.startWorker(stack.endpoint.url, { v8Flags: ["--max-heap-size=128"] })
const history = values.history === undefined ? undefined : await startHistory(values.history)
try {
  let best = 0
  for (const size of SIZES) {
    const bodies = size.bodies.map((body) => Buffer.from(body))
    const url = `${worker.address}${size.path}`
    await load({ url, bodies, callers: 8, ms: 3000, history })
    for (const callers of values.callers.split(",").map(Number)) {
      const answers = await load({ url, bodies, callers, ms: levelMs, history })
      console.log(line(`${size.name}, ${callers} callers`, answers, size.signals))
      if (size.signals === 500) best = Math.max(best, answers.latencies.length / (answers.ms / 1000))
    }
  }
  const [batches] = SIZES
  if (soakMs > 0 && batches) {
    const lines = await soak({
      url: `${worker.address}${batches.path}`,
      bodies: batches.bodies.map((body) => Buffer.from(body)),
      perSecond: best * 0.8,
      ms: soakMs,
      postgresPid: stack.postgres.pid,
      workerPid: worker.pid,
      history,
    })
    console.log(["80 % of the best", ...lines].join("\n"))
  }
  if (history) console.log(await checked(history))
  const crowdMs = Number(values.crowd) * 1000
  if (crowdMs > 0) await crowds(crowdMs)
  console.log(await ledgerAgrees(stack))
} finally {
  await worker.stop()
  await stack.stop()
}

/** Ends the history, and checks it. */
async function checked(recorder: Recorder): Promise<string> {
  const { client } = await openConnection(stack.postgres.url)
  await recordTables(recorder, async (text, given) => (await client.query(text, given)).rows)
  await client.end()
  await recorder.close()
  const broken = await checkFile(recorder.path)
  return [`history ${recorder.path}: ${broken.length} sentences break a rule`, ...broken.slice(0, 20)].join(
    "\n",
  )
}

/** Compares crowds of four times the clients, which ignore or honour `Retry-After`, with 300 clients. */
async function crowds(ms: number): Promise<void> {
  const run = (clients: number, isPolite: boolean) =>
    held(worker.pid, HELD_SHARE, () =>
      crowd({ address: worker.address, workerPid: worker.pid, clients, ms, isPolite }),
    )
  const few = await run(300, false)
  console.log(crowdLine("300 clients, a sixth of a core", few, few))
  console.log(crowdLine("1,200 that ignore Retry-After", await run(1200, false), few))
  console.log(crowdLine("1,200 that honour it", await run(1200, true), few))
}

const crowdLine = (name: string, { perSecond, workerMs, statuses }: Crowd, few: Crowd) =>
  `${name}: ${perSecond.toFixed(1)} successes/s, ${(perSecond / few.perSecond).toFixed(2)} of those of 300; ` +
  `${Math.round(workerMs)} ms of CPU a second, answers ${JSON.stringify(statuses)}`

function line(name: string, { latencies, statuses, ms }: Answers, signals: number): string {
  const perSecond = Math.round((latencies.length * signals) / (ms / 1000)).toLocaleString("en-US")
  const [p50, p99] = [0.5, 0.99].map((share) => Math.round(quantile(latencies, share)))
  return `${name}: ${perSecond} signals/s, p50 ${p50} ms, p99 ${p99} ms, answers ${JSON.stringify(statuses)}`
}

/** Whether each ledger row has its signals, and no signal is without one. */
async function ledgerAgrees({ postgres }: Stack): Promise<string> {
  const { client } = await openConnection(postgres.url)
  const { rows } = await client.query<{ signals: string; ledger: string }>(
    `select (select count(*) from signals) as signals, (select sum(total_count - failed_count) from batches) as ledger`,
  )
  await client.end()
  const [{ signals, ledger } = { signals: "", ledger: "" }] = rows
  return `${signals} signals stored, ${ledger} by the ledger`
}

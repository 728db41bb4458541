import { mkdir, writeFile } from "node:fs/promises"
import { dirname } from "node:path"
import { parseArgs } from "node:util"
import type { Client } from "pg"
import { childrenOf } from "../harness/cpu.ts"
import { openConnection } from "../harness/database.ts"
import type { Measurement } from "../harness/drive.ts"
import { describeMachine } from "../harness/machine.ts"
import { printTable } from "../harness/print.ts"
import { type Load, measureRounds } from "../harness/rounds.ts"
import { batchRoute, singleRoute } from "../harness/routes.ts"
import { SEED } from "../harness/signals.ts"
import { type Stack, startStack } from "../harness/stack.ts"
import { cpuPerBatch, summaryOf } from "../harness/summary.ts"
import { PEERS } from "./peers.ts"
import { installPeer, NotInstalled, startPeer } from "./process.ts"

/** `npm run bench:peers`: this service and others that do the same work, against one Postgres in one run. */
const { values: options } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    "cell-ms": { type: "string", default: "600" },
    sizes: { type: "string", default: "1,100,500" },
    callers: { type: "string", default: "8,32" },
    only: { type: "string", default: PEERS.map(({ name }) => name).join() },
    json: { type: "string", default: "dist/bench-peers.json" },
  },
})
const pace = { rounds: Number(options.rounds), warmUpMs: 150, cellMs: Number(options["cell-ms"]) }
const loads: Load[] = options.sizes
  .split(",")
  .flatMap((size) =>
    options.callers.split(",").map((callers) => ({ size: Number(size), callers: Number(callers) })),
  )

interface Contestant {
  name: string
  what: string
  address: string
  /** Its process, of which every thread and child counts. */
  pid: number
  /** The endpoint that stands for Neon's proxy: this service alone needs it. */
  endpointPid?: number
}

interface Cell extends Load {
  contestant: Contestant
}

const stop = new AbortController()
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => stop.abort())
const stops: (() => Promise<void>)[] = []
try {
  const stack = await startStack()
  stops.push(stack.stop)
  const contestants = await startContestants(stack)
  const { client: admin } = await openConnection(stack.postgres.url)
  stops.push(() => admin.end())
  await measure(stack, admin, contestants)
} catch (error) {
  if (!stop.signal.aborted) throw error
} finally {
  for (const one of stops.reverse()) await one()
}
process.exit(stop.signal.aborted ? 130 : 0)

async function startContestants({ worker, endpoint, postgres }: Stack): Promise<Contestant[]> {
  const ours = {
    name: "ours",
    what: "this service on workerd",
    address: worker.address,
    pid: worker.pid,
    endpointPid: endpoint.pid,
  }
  const contestants: Contestant[] = [ours]
  const names = options.only.split(",")
  for (const peer of PEERS.filter(({ name }) => names.includes(name))) {
    stop.signal.throwIfAborted()
    try {
      const { address, pid, stop } = await startPeer(peer, await installPeer(peer), postgres.url)
      stops.push(stop)
      contestants.push({ name: peer.name, what: peer.what, address, pid })
    } catch (error) {
      if (!(error instanceof NotInstalled)) throw error
      console.log(`${peer.name} is left out, it cannot be installed: ${error.message}`)
    }
  }
  return contestants
}

async function measure(stack: Stack, admin: Client, contestants: readonly Contestant[]): Promise<void> {
  const machine = await describeMachine(admin)
  // One load after the other, so that all contestants meet it in the same mood of the machine.
  const cells = loads.flatMap((load) => contestants.map((contestant): Cell => ({ ...load, contestant })))
  console.log(
    `${machine}\nseed ${SEED}, ${pace.rounds} round(s) of ${cells.length} cells, ${pace.cellMs} ms each\n`,
  )
  let done = 0
  const measured = await measureRounds(cells, {
    admin,
    pace,
    stopped: stop.signal,
    open: async ({ contestant: { address }, size, callers }) =>
      size === 1 ? singleRoute(address, callers) : batchRoute(address, size, callers),
    processes: ({ contestant: { pid, endpointPid } }) => ({
      server: [pid, ...childrenOf(pid)],
      endpoint: endpointPid === undefined ? [] : [endpointPid],
      postgres: [stack.postgres.pid, ...childrenOf(stack.postgres.pid)],
    }),
    onCell() {
      if (process.stderr.isTTY) process.stderr.write(`\r${++done} of ${cells.length * pace.rounds} `)
    },
  })
  const results = resultsOf(measured)
  print(contestants, results)
  await mkdir(dirname(options.json), { recursive: true })
  await writeFile(options.json, JSON.stringify({ machine, seed: SEED, pace, results }, null, 2))
  console.log(`\nas JSON: ${options.json}`)
}

type Result = ReturnType<typeof resultsOf>[number]

function resultsOf(measured: ReadonlyMap<Cell, readonly Measurement[]>) {
  return [...measured].map(([{ contestant, ...load }, measurements]) => {
    const [server, endpoint, postgres] = ["server", "endpoint", "postgres"].map((name) =>
      cpuPerBatch(measurements, name),
    )
    return {
      name: contestant.name,
      ...load,
      ...summaryOf(load.size, measurements),
      cpuMs: { server, endpoint, postgres },
    }
  })
}

function print(contestants: readonly Contestant[], results: readonly Result[]): void {
  const resultOf = (name: string, { size, callers }: Load) =>
    results.find((one) => one.name === name && one.size === size && one.callers === callers)
  const perSecond = (name: string, load: Load) => {
    const value = resultOf(name, load)?.signalsPerSecond ?? Number.NaN
    const ours = resultOf("ours", load)?.signalsPerSecond ?? Number.NaN
    return `${value.toFixed(0)} (${(value / ours).toFixed(2)})`
  }
  console.log("signals/s, median of the rounds (times ours), by signals a request x callers")
  printTable(
    ["", ...loads.map(({ size, callers }) => `${size} x ${callers}`)],
    contestants.map(({ name }) => [name, ...loads.map((load) => perSecond(name, load))]),
  )
  for (const load of loads) {
    console.log(`\n${load.size} x ${load.callers}: ms, and CPU ms a request`)
    printTable(
      ["", "p50", "p99", "server", "endpoint", "postgres"],
      contestants.map(({ name }) => {
        const one = resultOf(name, load)
        const { server, endpoint, postgres } = one?.cpuMs ?? {}
        return [
          name,
          ...[one?.p50Ms, one?.p99Ms, server, endpoint, postgres].map((ms) => (ms ?? Number.NaN).toFixed(2)),
        ]
      }),
    )
  }
  console.log(`\n${contestants.map(({ name, what }) => `${name}: ${what}`).join("\n")}`)
}

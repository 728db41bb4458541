import { Agent, request } from "node:http"
import { setTimeout as sleep } from "node:timers/promises"
import { Worker } from "node:worker_threads"
import { cpuMs } from "../harness/cpu.ts"
import { makeBatches, makeSignals } from "../harness/signals.ts"

/** What a crowd of clients got in one period. */
export interface Crowd {
  /** Answers by status; 0: none within the client's patience. */
  statuses: Record<number, number>
  /** Answers of success a second. */
  perSecond: number
  /** CPU milliseconds of the Worker a second. */
  workerMs: number
}

export interface CrowdOptions {
  address: string
  workerPid: number
  clients: number
  ms: number
  /** Whether a refused client waits for its `Retry-After`. */
  isPolite: boolean
}

const THOUGHT_MS = [1500, 4500] as const
const PATIENCE_MS = 15_000

const between = ([least, most]: readonly [number, number]) => least + Math.random() * (most - least)
const json = (value: unknown) => Buffer.from(JSON.stringify(value))
const BATCHES = makeBatches(100).map((signals) => json({ signals }))
const SIGNALS = makeSignals(100).map(json)

/** What the clients send in turn: two thirds batches of 100 signals, the others single signals and lists. */
const KINDS = [
  { path: "/api/signals/batch", bodies: BATCHES },
  { path: "/api/signals/batch", bodies: BATCHES },
  { path: "/api/signals", bodies: SIGNALS },
  { path: "/api/signals/batch", bodies: BATCHES },
  { path: "/api/signals/batch", bodies: BATCHES },
  { path: "/api/signals?limit=1", bodies: [] },
] as const

/** Runs mixed clients that think for 1.5 to 4.5 s between requests, and wait at most 15 s for an answer. */
export async function crowd({ address, workerPid, clients, ms, isPolite }: CrowdOptions): Promise<Crowd> {
  const agent = new Agent({ keepAlive: true, maxSockets: clients })
  const statuses: Record<number, number> = {}
  const startedAt = performance.now()
  const usedMs = cpuMs(workerPid)
  const isOver = () => performance.now() - startedAt >= ms
  const client = async (number: number) => {
    await sleep(Math.random() * THOUGHT_MS[1])
    for (let sent = 0; !isOver(); sent++) {
      const { path, bodies } = KINDS[number % KINDS.length] as (typeof KINDS)[number]
      const { status, retryMs } = await ask(
        agent,
        `${address}${path}`,
        bodies[sent % Math.max(1, bodies.length)],
      )
      if (!isOver()) statuses[status] = (statuses[status] ?? 0) + 1
      await sleep(Math.max(isPolite ? retryMs * between([1, 1.5]) : 0, between(THOUGHT_MS)))
    }
  }
  const all = Promise.all(Array.from({ length: clients }, (_, number) => client(number)))
  await sleep(ms)
  const workerMs = ((cpuMs(workerPid) - usedMs) * 1000) / ms
  agent.destroy()
  await all
  const successes = (statuses[200] ?? 0) + (statuses[201] ?? 0)
  return { statuses, perSecond: (successes * 1000) / ms, workerMs }
}

function ask(
  agent: Agent,
  url: string,
  body: Buffer | undefined,
): Promise<{ status: number; retryMs: number }> {
  const headers = body ? { "Content-Type": "application/json", "Content-Length": body.length } : {}
  return new Promise((resolve) => {
    const sent = request(url, { agent, method: body ? "POST" : "GET", headers }, (response) => {
      response.resume()
      response.on("error", none)
      response.on("end", () => {
        clearTimeout(timer)
        const retryMs = Number(response.headers["retry-after"] ?? 0) * 1000
        resolve({ status: response.statusCode ?? 0, retryMs })
      })
    })
    const none = () => {
      clearTimeout(timer)
      resolve({ status: 0, retryMs: 0 })
    }
    const timer = setTimeout(() => sent.destroy(new Error("the client lost its patience")), PATIENCE_MS)
    sent.on("error", none)
    sent.end(body)
  })
}

/** Holds the process `pid` to a share of a core while `work` runs. */
export async function held<T>(pid: number, share: number, work: () => Promise<T>): Promise<T> {
  const holder = new Worker(new URL("hold.ts", import.meta.url), { workerData: { pid, share } })
  const ended = new Promise((resolve) => holder.once("exit", resolve))
  try {
    return await work()
  } finally {
    holder.postMessage("release")
    await ended
  }
}

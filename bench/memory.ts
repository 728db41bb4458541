import { readFileSync } from "node:fs"
import { openAgent, post } from "./http.ts"
import { makeSignals } from "./signals.ts"
import type { Stack } from "./stack.ts"

/** Peak resident memory of a whole workerd process: the runtime itself, the Worker's isolate, and what requests need in it. */
export interface Memory {
  afterStartMiB: number
  /** After some batches of 10,000 signals, one at a time. */
  afterLargestMiB: number
}

const BATCHES = 5

/** Runs on a workerd of its own, since a peak never goes down again. */
export async function measureMemory(stack: Stack): Promise<Memory> {
  const worker = await stack.startWorker(stack.endpoint.url)
  const agent = openAgent(1)
  try {
    const afterStartMiB = peakMiB(worker.pid)
    const body = Buffer.from(JSON.stringify({ signals: makeSignals(10_000) }))
    for (let i = 0; i < BATCHES; i++) await post(agent, `${worker.address}/api/signals/batch`, body, 200)
    return { afterStartMiB, afterLargestMiB: peakMiB(worker.pid) }
  } finally {
    agent.destroy()
    await worker.stop()
  }
}

/** NaN where there is no Linux /proc. */
function peakMiB(pid: number): number {
  try {
    return Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1024
  } catch {
    return Number.NaN
  }
}

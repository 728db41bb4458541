import { openAgent, post } from "./harness/http.ts"
import { makeSignals } from "./harness/signals.ts"
import type { Stack } from "./harness/stack.ts"

/** The heap sizes to try, in MiB. Cloudflare ends an isolate at 128. */
const HEAPS_MIB = [24, 32, 48, 64, 96, 128, 192, 256]
const BATCHES = 5

/**
 * Finds the smallest of these heaps in which the Worker answers batches of 10,000 signals, one at a time. V8
 * ends the process when it needs more. Returns Infinity when no heap is large enough.
 */
export async function smallestHeapMiB(stack: Stack, stopped: AbortSignal): Promise<number> {
  const body = Buffer.from(JSON.stringify({ signals: makeSignals(10_000) }))
  for (const heapMiB of HEAPS_MIB) {
    stopped.throwIfAborted()
    if (await isEnough(stack, heapMiB, body)) return heapMiB
  }
  return Number.POSITIVE_INFINITY
}

async function isEnough(stack: Stack, heapMiB: number, body: Buffer): Promise<boolean> {
  const worker = await stack.startWorker(stack.endpoint.url, { v8Flags: [`--max-heap-size=${heapMiB}`] })
  const agent = openAgent(1)
  try {
    for (let i = 0; i < BATCHES; i++) await post(agent, `${worker.address}/api/signals/batch`, body, 200)
    return true
  } catch {
    return false
  } finally {
    agent.destroy()
    await worker.stop()
  }
}

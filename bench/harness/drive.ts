import { cpuMs } from "./cpu.ts"

export interface Measurement {
  /** The number of answered batches, and the milliseconds until the last answer. */
  batches: number
  ms: number
  /** The latency of every batch, unordered. */
  latencies: number[]
  /** CPU milliseconds in this time, by process. */
  cpu: Record<string, number>
}

/**
 * Runs a closed loop: each caller sends its next batch when the last one is answered, for `ms` milliseconds
 * and at least once.
 *
 * @param processes the ids of the processes whose CPU is measured, by name
 */
export async function drive(
  callers: number,
  ms: number,
  send: (caller: number) => Promise<void>,
  processes: () => Record<string, readonly number[]> = () => ({}),
): Promise<Measurement> {
  const latencies: number[] = []
  const usedBefore = cpuBy(processes())
  const startedAt = performance.now()
  const loop = async (caller: number) => {
    do {
      const sentAt = performance.now()
      await send(caller)
      latencies.push(performance.now() - sentAt)
    } while (performance.now() - startedAt < ms)
  }
  await Promise.all(Array.from({ length: callers }, (_, caller) => loop(caller)))
  const elapsed = performance.now() - startedAt
  const usedAfter = cpuBy(processes())
  const cpu = Object.fromEntries(
    Object.entries(usedAfter).map(([name, used]) => [name, used - (usedBefore[name] ?? 0)]),
  )
  return { batches: latencies.length, ms: elapsed, latencies, cpu }
}

function cpuBy(processes: Record<string, readonly number[]>): Record<string, number> {
  return Object.fromEntries(
    Object.entries(processes).map(([name, pids]) => [
      name,
      pids.reduce((sum, pid) => sum + (cpuMs(pid) || 0), 0),
    ]),
  )
}

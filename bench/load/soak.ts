import { readFileSync } from "node:fs"
import { setTimeout as sleep } from "node:timers/promises"
import type { Recorder } from "../../test/setup/history/record.ts"
import { childrenOf } from "../harness/cpu.ts"
import type { Stack } from "../harness/stack.ts"
import { quantile } from "../harness/statistics.ts"
import { type Answers, load } from "./callers.ts"

const FREEZE_MS = 2000
const SAMPLE_MS = 5000
/** The share of the time, and of the time after the freeze, from which on memory is expected not to grow. */
const WARM_UP = 0.2
/** So many seconds in a row must be normal. */
const NORMAL_SECONDS = 5

export interface Soak {
  url: string
  bodies: readonly Buffer[]
  perSecond: number
  ms: number
  postgresPid: Stack["postgres"]["pid"]
  workerPid: number
  history?: Recorder | undefined
}

/**
 * Sends batches at a rate, and freezes Postgres for two seconds in the middle. Returns what happened, one
 * sentence a line.
 */
export async function soak(options: Soak): Promise<string[]> {
  const { url, bodies, perSecond, ms, postgresPid, workerPid, history } = options
  const memory: [minutes: number, mebibytes: number][] = []
  const startedAt = performance.now()
  const sample = () => memory.push([(performance.now() - startedAt) / 60_000, residentMebibytes(workerPid)])
  const timer = setInterval(sample, SAMPLE_MS)
  const frozenAt = ms / 2
  const offered = load({ url, bodies, callers: 200, ms, perSecond, history })
  await sleep(frozenAt)
  const processes = [postgresPid, ...childrenOf(postgresPid)]
  for (const pid of processes) process.kill(pid, "SIGSTOP")
  await sleep(FREEZE_MS)
  for (const pid of processes) process.kill(pid, "SIGCONT")
  const answers = await offered
  clearInterval(timer)
  const before = answers.latencies.filter((_, index) => (answers.storedAt[index] ?? 0) < frozenAt)
  const usualMs = quantile(before, 0.5)
  const backMs = normalFrom(answers, frozenAt + FREEZE_MS, 3 * usualMs)
  // A freeze lets requests pile up, and the process keeps the memory of such a peak: before and after it are
  // apart.
  const [beforeFreeze, afterFreeze] = [
    between(memory, WARM_UP * ms, frozenAt),
    between(memory, frozenAt + WARM_UP * (ms - frozenAt), Number.POSITIVE_INFINITY),
  ]
  return [
    `${perSecond.toFixed(1)} batches/s offered for ${Math.round(answers.ms / 1000)} s, frozen for 2 s in the middle: ` +
      `${(answers.latencies.length / (answers.ms / 1000)).toFixed(1)} batches/s stored, answers ${JSON.stringify(answers.statuses)}`,
    `before the freeze p50 ${Math.round(usualMs)} ms, p99 ${Math.round(quantile(before, 0.99))} ms; ` +
      (backMs === undefined
        ? "not back to three times that p50 until the end"
        : `the medians of ${NORMAL_SECONDS} seconds in a row are within three times that p50 from ${backMs / 1000} s after the freeze on`),
    ...partsOf(answers, memory),
    `the Worker's memory from the warm-up to the freeze: ${growthOf(beforeFreeze)}; after it: ${growthOf(afterFreeze)}`,
  ]
}

type Memory = readonly (readonly [minutes: number, mebibytes: number])[]

const between = (memory: Memory, fromMs: number, untilMs: number): Memory =>
  memory.filter(([minutes]) => minutes * 60_000 > fromMs && minutes * 60_000 < untilMs)

const growthOf = (memory: Memory) => {
  const [first, last] = [memory[0]?.[1] ?? 0, memory.at(-1)?.[1] ?? 0]
  return `${Math.round(first)} to ${Math.round(last)} MiB, ${slopeOf(memory).toFixed(2)} MiB a minute`
}

/**
 * The first whole second after `from` from which on the median of each of five seconds is at most `limitMs`,
 * in milliseconds after `from`.
 */
function normalFrom({ storedAt, latencies }: Answers, from: number, limitMs: number): number | undefined {
  const seconds: number[][] = []
  for (const [index, at] of storedAt.entries()) {
    const second = Math.floor((at - from) / 1000)
    if (second < 0) continue
    seconds[second] ??= []
    seconds[second]?.push(latencies[index] ?? 0)
  }
  const isNormal = (second: number) =>
    (seconds[second]?.length ?? 0) > 0 && quantile(seconds[second] ?? [], 0.5) <= limitMs
  for (let second = 0; second + NORMAL_SECONDS <= seconds.length; second++)
    if (Array.from({ length: NORMAL_SECONDS }, (_, more) => second + more).every(isNormal))
      return second * 1000
  return undefined
}

/** Batches a second, latencies and the last memory of each tenth of the time. */
function partsOf({ storedAt, latencies, ms }: Answers, memory: Memory): string[] {
  const tenth = ms / 10
  return Array.from({ length: 10 }, (_, part) => {
    const own = latencies.filter((_, index) => Math.floor((storedAt[index] ?? 0) / tenth) === part)
    if (own.length === 0) return `part ${part + 1} of 10: nothing stored`
    const [p50, p99] = [0.5, 0.99].map((share) => Math.round(quantile(own, share)))
    const last = between(memory, part * tenth, (part + 1) * tenth).at(-1)?.[1] ?? Number.NaN
    const rate = (own.length / (tenth / 1000)).toFixed(1)
    return `part ${part + 1} of 10: ${rate} batches/s, p50 ${p50} ms, p99 ${p99} ms, memory ${Math.round(last)} MiB`
  })
}

/** The resident memory of a process; NaN where there is no Linux /proc. */
function residentMebibytes(pid: number): number {
  try {
    return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1024
  } catch {
    return Number.NaN
  }
}

/** The slope of the least-squares line through points. */
function slopeOf(points: Memory): number {
  const mean = (values: number[]) => values.reduce((sum, one) => sum + one, 0) / values.length
  const [meanX, meanY] = [mean(points.map(([x]) => x)), mean(points.map(([, y]) => y))]
  const covariance = points.reduce((sum, [x, y]) => sum + (x - meanX) * (y - meanY), 0)
  return covariance / points.reduce((sum, [x]) => sum + (x - meanX) ** 2, 0)
}

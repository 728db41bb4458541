import { parentPort, workerData } from "node:worker_threads"
import { cpuMs } from "../harness/cpu.ts"

/**
 * Holds a process to a share of a core, in a thread of its own: stops it whenever it has used more. A share
 * that it does not use is not saved for later, but for `BURST_MS`.
 */
const { pid, share } = workerData as { pid: number; share: number }

const LOOK_EVERY_MS = 5
const BURST_MS = 10

let [usedMs, lookedAt, creditMs] = [cpuMs(pid), performance.now(), 0]
let isStopped = false

const timer = setInterval(() => {
  const [nowMs, now] = [cpuMs(pid), performance.now()]
  creditMs = Math.min(BURST_MS, creditMs + share * (now - lookedAt)) - (nowMs - usedMs)
  usedMs = nowMs
  lookedAt = now
  if (isStopped === creditMs < 0) return
  isStopped = creditMs < 0
  process.kill(pid, isStopped ? "SIGSTOP" : "SIGCONT")
}, LOOK_EVERY_MS)

parentPort?.once("message", () => {
  clearInterval(timer)
  process.kill(pid, "SIGCONT")
  parentPort?.close()
})

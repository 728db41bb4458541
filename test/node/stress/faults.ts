import { setTimeout as sleep } from "node:timers/promises"
import { descendants } from "../../setup/processes.ts"
import type { Stand } from "./stand.ts"

/** A fault, which lasts until its promise is fulfilled. */
type Fault = (stand: Stand, random: () => number) => Promise<void>

const upTo = (random: () => number, most: number) => 1 + Math.floor(random() * most)

const FAULTS: Record<string, Fault> = {
  async "Postgres killed"({ postgres }, random) {
    await postgres.kill()
    await sleep(random() * 2000)
    await postgres.restart()
  },
  async "Postgres frozen"({ postgres }, random) {
    const pids = await serverProcesses(postgres.pid)
    for (const pid of pids) signal(pid, "SIGSTOP")
    await sleep(random() * 4000)
    for (const pid of pids) signal(pid, "SIGCONT")
  },
  async "sessions ended"({ query }) {
    await query("select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()")
  },
  async "answers lost"({ endpoint }, random) {
    endpoint.faults.loseAnswers += upTo(random, 6)
  },
  async "answers cut"({ endpoint }, random) {
    for (let left = upTo(random, 4); left > 0; left--) endpoint.faults.spoil.push("cut")
  },
  async "answers replaced by a page"({ endpoint }, random) {
    for (let left = upTo(random, 4); left > 0; left--)
      endpoint.faults.spoil.push({ status: random() < 0.5 ? 200 : 502, page: "<html>hello</html>" })
  },
  async "deadlocks and shutdowns"({ endpoint }, random) {
    for (let left = upTo(random, 6); left > 0; left--)
      endpoint.faults.failures.push({
        status: 400,
        code: random() < 0.5 ? "40P01" : "57P01",
        message: "injected by the stress",
      })
  },
  async "control plane fails"({ endpoint }, random) {
    for (let left = upTo(random, 4); left > 0; left--)
      endpoint.faults.failures.push({ status: 500, code: "", message: "Control plane request failed" })
  },
  async "queue fails"({ queue }, random) {
    queue.fails = true
    await sleep(random() * 2000)
    queue.fails = false
  },
  async "Worker killed"(stand) {
    await stand.crash()
  },
}

/** Injects faults until `isOver`, each after a pause. Returns how many of each kind it injected. */
export async function injectFaults(
  stand: Stand,
  random: () => number,
  { isOver, pauseMs }: { isOver: () => boolean; pauseMs: number },
): Promise<Map<string, number>> {
  const names = Object.keys(FAULTS)
  const injected = new Map<string, number>()
  while (!isOver()) {
    await sleep(random() * 2 * pauseMs)
    if (isOver()) break
    const name = names[Math.floor(random() * names.length)] as string
    await FAULTS[name]?.(stand, random)
    injected.set(name, (injected.get(name) ?? 0) + 1)
  }
  return injected
}

/** The postmaster and its children. */
async function serverProcesses(postmaster: number): Promise<number[]> {
  return [postmaster, ...(await descendants(postmaster)).map(({ pid }) => pid)]
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch {
    // The process has ended meanwhile.
  }
}

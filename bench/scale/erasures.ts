import { setTimeout as sleep } from "node:timers/promises"
import type pg from "pg"
import { SignalClient } from "../../src/client/index.ts"
import { openAgent, post } from "../harness/http.ts"
import { printTable } from "../harness/print.ts"
import type { Stack } from "../harness/stack.ts"
import { quantile } from "../harness/statistics.ts"
import { makeScaleBatch } from "./requests.ts"

const SIGNALS = 500
const CALLERS = 2
const PACE_MS = 20_000
const POLL_MS = 1000

/** The largest conversation, which an index finds, and a user, for whom the whole table is read. */
const SUBJECTS = [{ context_window_id: "conv-0" }, { user_id: "user-7" }] as const

interface Row {
  name: string
  seconds: number
  erased: number
  p50Ms: number
  p99Ms: number
}

/** Measures erasures with suppression in a table that is full, and the inserts of two callers beside them. */
export async function measureErasures(stack: Stack, client: pg.Client, stopped: AbortSignal): Promise<Row[]> {
  const inserts = startInserts(stack, stopped)
  const rows: Row[] = []
  try {
    await sleep(PACE_MS)
    rows.push({ name: "none", seconds: PACE_MS / 1000, erased: 0, ...inserts.take() })
    for (const subject of SUBJECTS) {
      const startedAt = performance.now()
      const erased = await eraseAll(stack, subject)
      const [[column, value] = ["", ""]] = Object.entries(subject)
      const { rows: left } = await client.query(`select from signals where ${column} = $1 limit 1`, [value])
      if (left.length > 0) throw new Error(`signals of ${value} are left`)
      rows.push({
        name: `${column}=${value}`,
        seconds: (performance.now() - startedAt) / 1000,
        erased,
        ...inserts.take(),
      })
    }
    return rows
  } finally {
    await inserts.stop()
  }
}

async function eraseAll(stack: Stack, subject: (typeof SUBJECTS)[number]): Promise<number> {
  const service = new SignalClient({ url: stack.worker.address })
  let erasure = await service.erase({ ...subject, suppress: true })
  while (erasure.state === "running") {
    await sleep(POLL_MS)
    erasure = (await service.erasure(erasure.id)) ?? erasure
  }
  return erasure.erased.signals
}

/** Two callers, each with one batch after the other. `take` returns the times since the last call. */
function startInserts(stack: Stack, stopped: AbortSignal) {
  const agent = openAgent(CALLERS)
  let latencies: number[] = []
  let isOver = false
  const caller = async () => {
    while (!isOver && !stopped.aborted) {
      const body = Buffer.from(JSON.stringify({ signals: makeScaleBatch(SIGNALS) }))
      const sentAt = performance.now()
      await post(agent, `${stack.worker.address}/api/signals/batch`, body, 200)
      latencies.push(performance.now() - sentAt)
    }
  }
  const done = Promise.all(Array.from({ length: CALLERS }, caller))
  return {
    take() {
      const taken = { p50Ms: quantile(latencies, 0.5), p99Ms: quantile(latencies, 0.99) }
      latencies = []
      return taken
    },
    async stop() {
      isOver = true
      await done
      agent.destroy()
    },
  }
}

export function printErasures(rows: readonly Row[]): void {
  printTable(
    ["erasure, beside inserts of 500", "seconds", "signals erased", "insert p50 / p99 ms"],
    rows.map(({ name, seconds, erased, p50Ms, p99Ms }) => [
      name,
      seconds.toFixed(1),
      String(erased),
      `${p50Ms.toFixed(1)} / ${p99Ms.toFixed(1)}`,
    ]),
  )
}

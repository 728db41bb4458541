import type pg from "pg"
import { copy } from "./copy.ts"
import { direct, recordStatements, type Statement } from "./direct.ts"
import { childrenOf } from "./harness/cpu.ts"
import { drive, type Measurement } from "./harness/drive.ts"
import { batchRoute, singleRoute } from "./harness/routes.ts"
import type { Stack } from "./harness/stack.ts"
import type { Subject } from "./harness/subject.ts"

export const SIZES = [1, 50, 100, 500, 1000, 5000, 10_000] as const
export const CALLERS = [1, 8] as const
export const LATENCIES_MS = [0, 5] as const

/** The single-signal route, the batch route, the batch's statement straight from `pg`, and COPY of its rows. */
export type Way = "single" | "batch" | "pg" | "copy"

/** One line of the result table. */
export interface Cell {
  way: Way
  /** Signals a batch. */
  size: number
  callers: number
  /** Added to each database round trip. */
  latencyMs: number
}

/** Cells that are compared stand next to each other, so that both run under the same load of the machine. */
export const CELLS: readonly Cell[] = [
  ...LATENCIES_MS.flatMap((latencyMs) => CALLERS.map((callers): Cell => ({ way: "single", size: 1, callers, latencyMs }))),
  ...SIZES.flatMap((size): Cell[] => [
    ...CALLERS.map((callers): Cell => ({ way: "pg", size, callers, latencyMs: 0 })),
    { way: "copy", size, callers: 1, latencyMs: 0 },
    ...LATENCIES_MS.flatMap((latencyMs) => CALLERS.map((callers): Cell => ({ way: "batch", size, callers, latencyMs }))),
  ]),
]

export interface Pace {
  rounds: number
  warmUpMs: number
  /** A cell's measured time in each round; every caller sends at least one batch. */
  cellMs: number
}

export interface Bench {
  stack: Stack
  admin: pg.Client
  pace: Pace
  /** Ends the measurements, which then throw. */
  stopped: AbortSignal
}

/**
 * Measures every cell once in each round, into empty tables and after a warm-up. Checks that the table has exactly the acknowledged
 * signals.
 */
export async function measureCells(bench: Bench, onCell: () => void): Promise<Map<Cell, Measurement[]>> {
  const { stack, admin, pace, stopped } = bench
  const statements = await recordStatements(stack, SIZES)
  const measured = new Map<Cell, Measurement[]>(CELLS.map((cell) => [cell, []]))
  const processes = () => ({
    workerd: [stack.worker.pid],
    endpoint: [stack.endpoint.pid],
    postgres: childrenOf(stack.postgres.pid),
  })
  for (let round = 0; round < pace.rounds; round++) {
    for (const [cell, measurements] of measured) {
      await stack.endpoint.setLatency(cell.latencyMs)
      await admin.query("truncate signals, batches")
      const subject = await open(stack, cell, statements)
      const send = (caller: number) => {
        stopped.throwIfAborted()
        return subject.send(caller)
      }
      try {
        const warmUp = await drive(cell.callers, pace.warmUpMs, send)
        const measurement = await drive(cell.callers, pace.cellMs, send, processes)
        measurements.push(measurement)
        await expectStored(admin, (warmUp.batches + measurement.batches) * cell.size)
      } finally {
        await subject.close()
      }
      onCell()
    }
  }
  return measured
}

async function open(stack: Stack, { way, size, callers }: Cell, statements: ReadonlyMap<number, Statement[]>): Promise<Subject> {
  if (way === "single") return singleRoute(stack, callers)
  if (way === "batch") return batchRoute(stack, size, callers)
  if (way === "copy") return copy(stack, size, callers)
  return direct(stack, statements.get(size) ?? [], callers)
}

async function expectStored(admin: pg.Client, acknowledged: number): Promise<void> {
  const { rows } = await admin.query<{ stored: number }>("select count(*)::int4 as stored from signals")
  const stored = rows[0]?.stored
  if (stored !== acknowledged) throw new Error(`${acknowledged} signals were acknowledged, and ${stored} are in the table`)
}

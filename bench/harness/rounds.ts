import type pg from "pg"
import { drive, type Measurement } from "./drive.ts"
import type { Subject } from "./subject.ts"

/** How many callers there are at once, and how many signals each request has. */
export interface Load {
  size: number
  callers: number
}

export interface Pace {
  rounds: number
  warmUpMs: number
  /** A cell's measured time in each round; every caller sends at least one batch. */
  cellMs: number
}

export interface Rounds<Cell extends Load> {
  admin: pg.Client
  pace: Pace
  /** Ends the measurements, which then throw. */
  stopped: AbortSignal
  /** Prepares what a cell sends. */
  open(cell: Cell): Promise<Subject>
  /** The ids of the processes that work for a cell, by name. */
  processes(cell: Cell): Record<string, readonly number[]>
  onCell(): void
}

/**
 * Measures every cell once in each round, into empty tables and after a warm-up. Checks that the table has
 * exactly the acknowledged signals.
 */
export async function measureRounds<Cell extends Load>(
  cells: readonly Cell[],
  { admin, pace, stopped, open, processes, onCell }: Rounds<Cell>,
): Promise<Map<Cell, Measurement[]>> {
  const measured = new Map<Cell, Measurement[]>(cells.map((cell) => [cell, []]))
  for (let round = 0; round < pace.rounds; round++) {
    for (const [cell, measurements] of measured) {
      await admin.query("truncate signals, batches")
      const subject = await open(cell)
      const send = (caller: number) => {
        stopped.throwIfAborted()
        return subject.send(caller)
      }
      try {
        const warmUp = await drive(cell.callers, pace.warmUpMs, send)
        const measurement = await drive(cell.callers, pace.cellMs, send, () => processes(cell))
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

async function expectStored(admin: pg.Client, acknowledged: number): Promise<void> {
  const { rows } = await admin.query<{ stored: number }>("select count(*)::int4 as stored from signals")
  const stored = rows[0]?.stored
  if (stored !== acknowledged)
    throw new Error(`${acknowledged} signals were acknowledged, and ${stored} are in the table`)
}

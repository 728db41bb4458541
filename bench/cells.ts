import { copy } from "./copy.ts"
import { direct, recordStatements, type Statement } from "./direct.ts"
import { childrenOf } from "./harness/cpu.ts"
import type { Measurement } from "./harness/drive.ts"
import { type Load, measureRounds, type Rounds } from "./harness/rounds.ts"
import { batchRoute, singleRoute } from "./harness/routes.ts"
import type { Stack } from "./harness/stack.ts"
import type { Subject } from "./harness/subject.ts"

export const SIZES = [1, 50, 100, 500, 1000, 5000, 10_000] as const
export const CALLERS = [1, 8] as const
export const LATENCIES_MS = [0, 5] as const

/**
 * The single-signal route, the batch route, the batch's statement straight from `pg`, and COPY of its rows.
 */
export type Way = "single" | "batch" | "pg" | "copy"

/** One line of the result table. */
export interface Cell extends Load {
  way: Way
  /** Added to each database round trip. */
  latencyMs: number
}

/** Cells that are compared stand next to each other, so that both run under the same load of the machine. */
export const CELLS: readonly Cell[] = [
  ...LATENCIES_MS.flatMap((latencyMs) =>
    CALLERS.map((callers): Cell => ({ way: "single", size: 1, callers, latencyMs })),
  ),
  ...SIZES.flatMap((size): Cell[] => [
    ...CALLERS.map((callers): Cell => ({ way: "pg", size, callers, latencyMs: 0 })),
    { way: "copy", size, callers: 1, latencyMs: 0 },
    ...LATENCIES_MS.flatMap((latencyMs) =>
      CALLERS.map((callers): Cell => ({ way: "batch", size, callers, latencyMs })),
    ),
  ]),
]

export interface Bench extends Pick<Rounds<Cell>, "admin" | "pace" | "stopped" | "onCell"> {
  stack: Stack
}

export async function measureCells({ stack, ...rounds }: Bench): Promise<Map<Cell, Measurement[]>> {
  const statements = await recordStatements(stack, SIZES)
  return measureRounds(CELLS, {
    ...rounds,
    async open(cell) {
      await stack.endpoint.setLatency(cell.latencyMs)
      return open(stack, cell, statements)
    },
    processes: () => ({
      workerd: [stack.worker.pid],
      endpoint: [stack.endpoint.pid],
      postgres: [stack.postgres.pid, ...childrenOf(stack.postgres.pid)],
    }),
  })
}

async function open(
  stack: Stack,
  { way, size, callers }: Cell,
  statements: ReadonlyMap<number, Statement[]>,
): Promise<Subject> {
  if (way === "single") return singleRoute(stack.worker.address, callers)
  if (way === "batch") return batchRoute(stack.worker.address, size, callers)
  if (way === "copy") return copy(stack, size, callers)
  return direct(stack, statements.get(size) ?? [], callers)
}

import type { Failure } from "./responses.ts"
import type { SignalRow } from "./schema.ts"

/** A count by name. It is a map, since a sender can choose any name for a source. */
export type Tally = ReadonlyMap<string, number>

export const EMPTY_TALLY: Tally = new Map()

function tally<Item>(items: readonly Item[], nameOf: (item: Item) => string): Tally {
  const counts = new Map<string, number>()
  for (const item of items) {
    const name = nameOf(item)
    counts.set(name, (counts.get(name) ?? 0) + 1)
  }
  return counts
}

/** Counts signals by source. */
export const tallySources = (rows: readonly Pick<SignalRow, "signalSource">[]): Tally =>
  tally(rows, (row) => row.signalSource)

/** Counts failed signals by the code of their failure. */
export const tallyCodes = (failures: readonly Failure[]): Tally => tally(failures, ({ code }) => code)

/** Counts the rows of a batch that are new in the table, by source. */
export function tallyNew(
  rows: readonly SignalRow[],
  stored: readonly { index: number; duplicate: boolean }[],
): Tally {
  const added = new Set(stored.filter(({ duplicate }) => !duplicate).map(({ index }) => index))
  return tallySources(rows.filter(({ index }) => added.has(index)))
}

export function addTallies(one: Tally, other: Tally): Tally {
  if (one.size === 0 || other.size === 0) return one.size === 0 ? other : one
  const sum = new Map(one)
  for (const [name, count] of other) sum.set(name, (sum.get(name) ?? 0) + count)
  return sum
}

/** Completes a tally to `total`: counts the rest under `name`. */
export function tallyWithRest(known: Tally, total: number, name: string): Tally {
  const rest = total - [...known.values()].reduce((sum, count) => sum + count, 0)
  return rest > 0 || known.size === 0 ? addTallies(known, new Map([[name, Math.max(0, rest)]])) : known
}

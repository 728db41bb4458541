/** Names kept apart in one tally; the state file holds it, so it is bounded. */
const MAX_NAMES = 50
const OTHERS = "others"

/** Adds to a count by name. Names beyond the bound count together. */
export function tally(counts: Record<string, number>, name: string, by = 1): void {
  const known = Object.hasOwn(counts, name) || Object.keys(counts).length < MAX_NAMES ? name : OTHERS
  counts[known] = (counts[known] ?? 0) + by
}

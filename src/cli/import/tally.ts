/** Names that are counted separately; the state file holds them, so there is a bound. */
const MAX_NAMES = 50
const OTHERS = "others"

/** Adds to the count of a name. Names beyond the bound are counted together. */
export function tally(counts: Record<string, number>, name: string, by = 1): void {
  const known = Object.hasOwn(counts, name) || Object.keys(counts).length < MAX_NAMES ? name : OTHERS
  counts[known] = (counts[known] ?? 0) + by
}

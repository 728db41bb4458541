import { MIXED, PART_ROUTE, type Point } from "./point.ts"

/** How many signals of each name. */
type Counts = ReadonlyMap<string, number>

export interface Parts {
  /** Signals that the request added to the table, by their source. */
  sources: Counts
  /** Signals that are not in the table, by the code of their failure. */
  codes: Counts
}

/**
 * Of each kind; what is over counts under "". Analytics Engine takes 250 points an invocation, and all codes find room.
 *
 * @see https://developers.cloudflare.com/analytics/analytics-engine/limits/
 */
const MAX_PARTS = 24

/** The only name, "mixed" for several, "" for none. */
export function commonName(counts: Counts): string {
  const [first = ""] = counts.keys()
  return counts.size > 1 ? MIXED : first
}

/**
 * The point of a request, and one further point for each source and for each code where it has several: a point has room for one name of
 * each. Parts have a route of their own, so that nothing that counts requests or signals counts them.
 */
export function withParts(point: Point, { sources, codes }: Parts): Point[] {
  const { outcome, caller = "", source } = point
  const parts: Partial<Point>[] = [
    ...(source === MIXED ? largest(sources).map(([name, successes]) => ({ source: name, successes })) : []),
    ...(codes.size > 1 ? largest(codes).map(([code, failures]) => ({ code, failures })) : []),
  ]
  return [{ ...point, code: commonName(codes) }, ...parts.map((part) => ({ route: PART_ROUTE, outcome, caller, ...part }))]
}

/** The names with the largest counts, and the sum of all others under "". */
function largest(counts: Counts): [name: string, count: number][] {
  const sorted = [...counts].sort(([, one], [, other]) => other - one)
  const rest = sorted.splice(MAX_PARTS).reduce((sum, [, count]) => sum + count, 0)
  return rest > 0 ? [...sorted, ["", rest]] : sorted
}

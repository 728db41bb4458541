import { MIXED, PART_ROUTE, type Point } from "./point.ts"

/** The number of signals by name. */
type Counts = ReadonlyMap<string, number>

export interface Parts {
  /** Signals that the request added to the table, by their source. */
  sources: Counts
  /** Signals that are not in the table, by the code of their failure. */
  codes: Counts
}

/**
 * The most parts of each kind; the rest counts under "". Analytics Engine accepts 250 points for each
 * invocation, enough for all codes.
 *
 * @see https://developers.cloudflare.com/analytics/analytics-engine/limits/
 */
const MAX_PARTS = 24

/** The name if there is only one; "mixed" for several, "" for none. */
export function commonName(counts: Counts): string {
  const [first = ""] = counts.keys()
  return counts.size > 1 ? MIXED : first
}

/**
 * The point of a request, and its parts: one point for each source and for each code if it has several, since
 * a point holds one name of each. Parts have their own route, so that they are not counted as requests or
 * signals.
 */
export function withParts(point: Point, { sources, codes }: Parts): Point[] {
  const { outcome, caller = "", source } = point
  const parts: Partial<Point>[] = [
    ...(source === MIXED ? largest(sources).map(([name, successes]) => ({ source: name, successes })) : []),
    ...(codes.size > 1 ? largest(codes).map(([code, failures]) => ({ code, failures })) : []),
  ]
  return [
    { ...point, code: commonName(codes) },
    ...parts.map((part) => ({ route: PART_ROUTE, outcome, caller, ...part })),
  ]
}

/** Returns the names with the largest counts, and the sum of all others under "". */
function largest(counts: Counts): [name: string, count: number][] {
  const sorted = [...counts].sort(([, one], [, other]) => other - one)
  const rest = sorted.splice(MAX_PARTS).reduce((sum, [, count]) => sum + count, 0)
  return rest > 0 ? [...sorted, ["", rest]] : sorted
}

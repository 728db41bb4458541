import {
  CONSUMER_ROUTE,
  dataPoint,
  INGEST_ROUTES,
  OUTCOMES,
  PART_ROUTE,
  type Point,
} from "../../../../src/metrics/points.ts"
import { LATENCY_BUCKETS } from "../../../../src/metrics/queries.ts"
import type { AnalyticsRig } from "../../../setup/hooks/analytics.ts"

const DATASET = "signal_ingest_requests"

/** The epoch's second at which the seeded points begin. */
export const BEGIN = 1_760_000_000
export const SPAN = { since: BEGIN + 100, until: BEGIN + 3500 }
const ROUTES = [...INGEST_ROUTES, CONSUMER_ROUTE, PART_ROUTE, "GET /api/signals", "GET /api/signals/:id"]

export type Seeded = Required<Point> & { second: number }

/** Makes random points. The same seed gives the same points. */
export function randomPoints(count: number, seed = 7): Seeded[] {
  let state = seed
  const random = () => {
    state = (state * 48_271) % 2_147_483_647
    return state / 2_147_483_647
  }
  const pick = <Item>(items: readonly Item[]) => items[Math.floor(random() * items.length)] as Item
  return Array.from({ length: count }, () => ({
    second: BEGIN + Math.floor(random() * 3600),
    route: pick(ROUTES),
    mode: pick(["best_effort", "all_or_nothing"]),
    outcome: pick(OUTCOMES),
    status: pick([200, 400, 503]),
    caller: pick(["", "bridge", "O'Hara"]),
    source: pick(["Slack", "mixed", "Zoë 🚀", "a", "B"]),
    total: Math.floor(random() * 500),
    successes: random() < 0.3 ? 0 : Math.floor(random() * 400),
    failures: random() < 0.5 ? 0 : Math.floor(random() * 100),
    code: pick(["", "", "blank", "out_of_range", "mixed"]),
    // Some of them exactly on a bucket's bound.
    latencyMs: random() < 0.1 ? pick(LATENCY_BUCKETS) * 1000 : random() ** 4 * 12_000,
    databaseMs: random() * 100,
    bytes: Math.floor(random() * 100_000),
    databaseAttempts: 1,
    waiting: random() < 0.8 ? 0 : Math.floor(random() * 50),
    kind: "",
    skipped: 0,
    duplicates: Math.floor(random() * 50),
  }))
}

/** Stores points with their own times. */
export async function seed({ inPostgres }: AnalyticsRig, points: readonly Seeded[]): Promise<void> {
  await inPostgres(
    `insert into local_analytics.points (timestamp, dataset, index1, ${names("blob", 8)}, ${names("double", 9)})
     select to_timestamp((p->>'second')::float8), $2, p->'indexes'->>0, ${picks("blobs", 8, "")}, ${picks("doubles", 9, "::float8")}
     from jsonb_array_elements($1::jsonb) p`,
    [JSON.stringify(points.map((point) => ({ second: point.second, ...dataPoint(point) }))), DATASET],
  )
}
const indexes = (count: number) => Array.from({ length: count }, (_, index) => index)
const names = (name: string, count: number) => indexes(count).map((index) => `${name}${index + 1}`)
const picks = (name: string, count: number, cast: string) =>
  indexes(count).map((index) => `(p->'${name}'->>${index})${cast}`)

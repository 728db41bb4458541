import { afterAll, beforeAll } from "vitest"
import { type LocalAnalytics, startAnalytics } from "../../../src/local/analytics/server.ts"
import { type LocalPostgres, startTemporaryPostgres } from "../../../src/local/postgres/postgres.ts"
import { queryAt } from "../rig.ts"

const DATASET = "signal_ingest_requests"

/** The path of queries on the local Analytics Engine. */
export const SQL_PATH = "/accounts/local/analytics_engine/sql"

/** The answer to a query. */
interface QueryAnswer {
  meta: { name: string; type: string }[]
  data: Record<string, string | number | null>[]
  rows: number
  rows_before_limit_at_least: number
}

/** The local Analytics Engine, and calls of it. */
export interface AnalyticsRig extends LocalAnalytics {
  /** The connection string of the Postgres that holds the points. */
  databaseUrl: string
  /** Runs a statement in that Postgres. */
  inPostgres(text: string, values?: unknown[]): Promise<unknown[]>
  post(url: string, body: string, token?: string): Promise<Response>
  ask(query: string): Promise<Response>
  /** @throws {Error} the query was refused */
  answer(query: string): Promise<QueryAnswer>
  data(query: string): Promise<QueryAnswer["data"]>
  write(point: unknown, dataset?: string): Promise<Response>
  /** Deletes all points. */
  empty(): Promise<unknown>
}

/**
 * Starts the local Analytics Engine before the tests of this file, and stops it after them.
 *
 * @returns the calls, and properties that are set when the first hook or test of the file runs
 */
export function useAnalytics(): AnalyticsRig {
  const calls = {
    inPostgres: (text: string, values?: unknown[]) => queryAt(analytics.databaseUrl, text, values),
    post: (url: string, body: string, token = analytics.token) =>
      fetch(url, { method: "POST", body, headers: { Authorization: `Bearer ${token}` } }),
    ask: (query: string) => calls.post(analytics.url + SQL_PATH, query),
    async answer(query: string): Promise<QueryAnswer> {
      const response = await calls.ask(query)
      if (!response.ok) throw new Error(await response.text())
      return (await response.json()) as QueryAnswer
    },
    data: async (query: string) => (await calls.answer(query)).data,
    write: (point: unknown, dataset = DATASET) =>
      calls.post(analytics.pointsUrl, JSON.stringify({ dataset, point })),
    empty: () => calls.inPostgres("truncate local_analytics.points"),
  }
  const analytics = { ...calls } as AnalyticsRig
  let postgres: LocalPostgres | undefined
  let started: LocalAnalytics | undefined
  beforeAll(async () => {
    postgres = await startTemporaryPostgres()
    started = await startAnalytics({ databaseUrl: postgres.url })
    Object.assign(analytics, started, { databaseUrl: postgres.url })
  })
  afterAll(async () => {
    await started?.stop()
    await postgres?.stop()
  })
  return analytics
}

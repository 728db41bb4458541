import { afterAll, beforeAll } from "vitest"
import { type LocalAnalytics, startAnalytics } from "../../../src/local/analytics/server.ts"
import { type LocalPostgres, startTemporaryPostgres } from "../../../src/local/postgres/postgres.ts"

/** The local Analytics Engine, and the connection string of the Postgres that holds its points. */
export interface AnalyticsRig extends LocalAnalytics {
  databaseUrl: string
}

/**
 * Starts the local Analytics Engine before the tests of this file, and stops it after them.
 *
 * @returns its properties are set when the first hook or test of the file runs
 */
export function useAnalytics(): AnalyticsRig {
  const analytics = {} as AnalyticsRig
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

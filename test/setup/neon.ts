import { NeonDbError, type NeonQueryFunction, neon, neonConfig } from "@neondatabase/serverless"
import { Client } from "pg"
import { expect } from "vitest"
import { type EndpointOptions, type NeonEndpoint, startNeonEndpoint } from "../../src/local/neon/endpoint.ts"
import { type LocalPostgres, startTemporaryPostgres } from "../../src/local/postgres/postgres.ts"

/** Neon's own client, as it is, in front of the local endpoint and a Postgres of its own. */
export interface NeonSetup {
  postgres: LocalPostgres
  endpoint: NeonEndpoint
  sql: NeonQueryFunction<false, false>
  /** How many rows Postgres itself answers with, asked past the endpoint. */
  count(text: string): Promise<number>
  stop(): Promise<void>
}

export async function startNeon(options: EndpointOptions = {}): Promise<NeonSetup> {
  const postgres = await startTemporaryPostgres()
  const endpoint = await startNeonEndpoint(options)
  neonConfig.fetchEndpoint = endpoint.url
  const sql = neon(postgres.url)
  await sql`create table things (id int primary key, name text)`
  return {
    postgres,
    endpoint,
    sql,
    async count(text) {
      const client = new Client({ connectionString: postgres.url })
      await client.connect()
      try {
        return (await client.query(text)).rowCount ?? 0
      } finally {
        await client.end()
      }
    },
    async stop() {
      await endpoint.stop()
      await postgres.stop()
    },
  }
}

/** The error that the driver makes of a query. */
export async function failureOf(query: Promise<unknown>): Promise<NeonDbError> {
  const failure = await query.then(
    () => undefined,
    (error: unknown) => error,
  )
  expect(failure).toBeInstanceOf(NeonDbError)
  return failure as NeonDbError
}

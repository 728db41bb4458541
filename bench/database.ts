import pg from "pg"
import { migrate } from "../src/local/migrate.ts"
import { type LocalPostgres, startTemporaryPostgres } from "../src/local/postgres.ts"

/** Postgres in a temporary folder, with the service's tables. */
export async function startDatabase(): Promise<LocalPostgres> {
  const postgres = await startTemporaryPostgres()
  await migrate(postgres.url)
  return postgres
}

/** One connection, and the process id of the backend that serves it. */
export async function openConnection(url: string): Promise<{ client: pg.Client; pid: number }> {
  const client = new pg.Client(url)
  await client.connect()
  const { rows } = await client.query<{ pid: number }>("select pg_backend_pid() as pid")
  return { client, pid: rows[0]?.pid ?? 0 }
}

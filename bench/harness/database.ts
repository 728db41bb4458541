import pg from "pg"
import { migrate } from "../../src/local/postgres/migrate.ts"
import { type LocalPostgres, startTemporaryPostgres } from "../../src/local/postgres/postgres.ts"

/** Starts Postgres in a temporary folder, with the service's tables. The caller stops it, also on Ctrl-C. */
export async function startDatabase(): Promise<LocalPostgres> {
  const postgres = await startTemporaryPostgres(undefined, { callerHandlesSignals: true })
  await migrate(postgres.url)
  return postgres
}

/** Opens a connection, and returns it with the process id of its backend. */
export async function openConnection(url: string): Promise<{ client: pg.Client; pid: number }> {
  const client = new pg.Client(url)
  // The running query reports a lost connection.
  client.on("error", () => {})
  await client.connect()
  const { rows } = await client.query<{ pid: number }>("select pg_backend_pid() as pid")
  return { client, pid: rows[0]?.pid ?? 0 }
}

/** Opens a connection for each of `count` callers. */
export async function openClients(url: string, count: number): Promise<pg.Client[]> {
  const opened = await Promise.all(Array.from({ length: count }, () => openConnection(url)))
  return opened.map(({ client }) => client)
}

/** The connection of a caller; callers are numbered from 0. */
export function clientOf(clients: readonly pg.Client[], caller: number): pg.Client {
  const client = clients[caller]
  if (!client) throw new Error(`no connection for caller ${caller}`)
  return client
}

export async function closeClients(clients: readonly pg.Client[]): Promise<void> {
  await Promise.all(clients.map((client) => client.end()))
}

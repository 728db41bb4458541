import { setTimeout as sleep } from "node:timers/promises"
import { Client } from "pg"
import { StartupError } from "../startup-error.ts"

/** An arbitrary number: whatever changes the schema of this service takes the same lock. */
const LOCK = 7_305_501
const LOCK_PAUSE_MS = 200

/**
 * Does work that changes the schema, one process at a time.
 *
 * @param databaseUrl of the owner; Neon's pooled host is replaced by the direct one
 * @param failure begins the sentence of an error
 * @throws {StartupError} the database can't be reached or refuses; the connection string is never part of it
 */
export async function asMigrator<T>(databaseUrl: string, failure: string, work: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client({ ...connectionTo(databaseUrl), connectionTimeoutMillis: 30_000 })
  // The statement that was running reports a lost connection.
  client.on("error", () => {})
  try {
    await client.connect()
    // Held by the session: drizzle's migrator takes no lock of its own.
    await takeLock(client)
    return await work(client)
  } catch (error) {
    throw error instanceof StartupError ? error : new StartupError(`${failure}: ${sentenceOf(error as Error)}`)
  } finally {
    await client.end().catch(() => {})
  }
}

/** Asks now and then: whoever waits in a statement holds a snapshot, and an index that the other process builds would wait for that. */
async function takeLock(client: Client): Promise<void> {
  for (;;) {
    const { rows } = await client.query<{ taken: boolean }>("select pg_try_advisory_lock($1) as taken", [LOCK])
    if (rows[0]?.taken) return
    await sleep(LOCK_PAUSE_MS)
  }
}

const POOLER = /^([^.]+)-pooler\./

/** Whether this is Neon's pooler, which shares sessions between clients, so that a session's lock has no meaning there. */
export const isPooled = (databaseUrl: string) => POOLER.test(URL.parse(databaseUrl)?.hostname ?? "")

function connectionTo(databaseUrl: string) {
  const url = URL.parse(databaseUrl)
  if (!url || !/^postgres(ql)?:$/.test(url.protocol))
    throw new StartupError("DATABASE_URL is not a connection string: postgresql://user:password@host/database.")
  url.hostname = url.hostname.replace(POOLER, "$1.")
  if (!url.hostname.endsWith(".neon.tech")) return { connectionString: url.href }
  // Always with the server's certificate checked; what Neon's own connection strings ask for is less, and pg warns of it.
  for (const parameter of ["sslmode", "channel_binding"]) url.searchParams.delete(parameter)
  return { connectionString: url.href, ssl: true }
}

/** The reason of a failure, without the statement that drizzle puts in front, and also for a host with several addresses. */
function sentenceOf(error: Error & { errors?: Error[]; code?: string }): string {
  if (error.cause instanceof Error) return sentenceOf(error.cause)
  return error.message || error.errors?.[0]?.message || error.code || "no reason was given"
}

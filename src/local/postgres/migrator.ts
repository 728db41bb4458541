import { setTimeout as sleep } from "node:timers/promises"
import { Client } from "pg"
import { StartupError } from "../machine/startup-error.ts"

/** An arbitrary number. Every change of this service's schema takes this advisory lock. */
const LOCK = 7_305_501
const LOCK_PAUSE_MS = 200

/**
 * Runs work that changes the schema, one process at a time.
 *
 * @param databaseUrl of the owner; Neon's pooled host is replaced by the direct one
 * @param failure begins the sentence of an error
 * @throws {StartupError} the database cannot be reached, or refuses; the message never has the connection
 *   string
 */
export async function asMigrator<T>(
  databaseUrl: string,
  failure: string,
  work: (client: Client) => Promise<T>,
): Promise<T> {
  const client = new Client({ ...connectionTo(databaseUrl), connectionTimeoutMillis: 30_000 })
  // The running statement reports a lost connection.
  client.on("error", () => {})
  try {
    await client.connect()
    // The session holds the lock, because drizzle's migrator takes none.
    await takeLock(client)
    return await work(client)
  } catch (error) {
    throw error instanceof StartupError
      ? error
      : new StartupError(`${failure}: ${sentenceOf(error as Error)}`)
  } finally {
    await client.end().catch(() => {})
  }
}

/**
 * Polls for the lock: a waiting statement would hold a snapshot, for which a concurrent index build of the
 * other process would wait.
 */
async function takeLock(client: Client): Promise<void> {
  for (;;) {
    const { rows } = await client.query<{ taken: boolean }>("select pg_try_advisory_lock($1) as taken", [
      LOCK,
    ])
    if (rows[0]?.taken) return
    await sleep(LOCK_PAUSE_MS)
  }
}

const POOLER = /^([^.]+)-pooler\./

/**
 * Whether the host is Neon's pooler. It shares sessions between clients, so that a lock of a session does not
 * work there.
 */
export const isPooled = (databaseUrl: string) => POOLER.test(URL.parse(databaseUrl)?.hostname ?? "")

function connectionTo(databaseUrl: string) {
  const url = URL.parse(databaseUrl)
  if (!url || !/^postgres(ql)?:$/.test(url.protocol))
    throw new StartupError(
      "DATABASE_URL is not a connection string: postgresql://user:password@host/database.",
    )
  url.hostname = url.hostname.replace(POOLER, "$1.")
  if (!url.hostname.endsWith(".neon.tech")) return { connectionString: url.href }
  // Always verifies the certificate. The parameters of Neon's connection strings ask for less, and pg warns
  // about them.
  for (const parameter of ["sslmode", "channel_binding"]) url.searchParams.delete(parameter)
  return { connectionString: url.href, ssl: true }
}

/**
 * Returns the message of the innermost error, without the statement that drizzle adds. A host with several
 * addresses has several errors.
 */
function sentenceOf(error: Error & { errors?: Error[]; code?: string }): string {
  if (error.cause instanceof Error) return sentenceOf(error.cause)
  return error.message || error.errors?.[0]?.message || error.code || "no reason was given"
}

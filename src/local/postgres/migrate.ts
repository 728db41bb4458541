import { readFile } from "node:fs/promises"
import { join } from "node:path"
import { drizzle } from "drizzle-orm/node-postgres"
import { migrate as applyMigrations } from "drizzle-orm/node-postgres/migrator"
import { Client } from "pg"
import { ROOT } from "../root.ts"
import { StartupError } from "../startup-error.ts"
import { backfillDedupeKeys } from "./backfill.ts"
import { withShortLocks } from "./short-locks.ts"

const MIGRATIONS = join(ROOT, "drizzle")

/** An arbitrary number: every migration of this service takes the same lock. */
const LOCK = 7_305_501

/**
 * Brings the database to the newest schema: all pending migrations in one transaction, one migrator at a time; then, in steps, what they
 * leave to do with the rows that are there. When it is ended in between, the next call continues.
 *
 * @param databaseUrl Neon's pooled host is replaced by the direct one
 * @returns the names of those that were applied
 * @throws {StartupError} the database can't be reached or refuses; the connection string is never part of it
 */
export async function migrate(databaseUrl: string): Promise<string[]> {
  const client = new Client({ ...connectionTo(databaseUrl), connectionTimeoutMillis: 30_000 })
  // The statement that was running reports a lost connection.
  client.on("error", () => {})
  try {
    await client.connect()
    // Held by the session: drizzle's migrator takes no lock of its own.
    await client.query("select pg_advisory_lock($1)", [LOCK])
    const pending = await pendingMigrations(client)
    await withShortLocks(client, () => applyMigrations(drizzle({ client }), { migrationsFolder: MIGRATIONS }))
    await backfillDedupeKeys(client)
    return pending
  } catch (error) {
    throw new StartupError(`The database could not be migrated: ${sentenceOf(error as Error)}`)
  } finally {
    await client.end().catch(() => {})
  }
}

/** By the rule of drizzle's migrator: what is younger than the youngest that was applied. */
async function pendingMigrations(client: Client): Promise<string[]> {
  const journal = JSON.parse(await readFile(join(MIGRATIONS, "meta/_journal.json"), "utf8")) as {
    entries: { tag: string; when: number }[]
  }
  const { rows } = await client.query("select to_regclass('drizzle.__drizzle_migrations') is not null as exists")
  const newest = rows[0].exists
    ? (await client.query("select coalesce(max(created_at), 0)::float8 as newest from drizzle.__drizzle_migrations")).rows[0]
        .newest
    : 0
  return journal.entries.filter(({ when }) => when > newest).map(({ tag }) => tag)
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

import { parseArgs } from "node:util"
import { drizzle } from "drizzle-orm/node-postgres"
import { migrate as applyMigrations } from "drizzle-orm/node-postgres/migrator"
import { Client } from "pg"
import { readEnvironment } from "./environment.ts"
import { StartupError } from "./startup-error.ts"

/** Any number does, as long as every migration of this service takes the same lock. */
const LOCK = 7_305_501

/**
 * Brings the database to the newest schema: all pending migrations in one transaction, one migrator at a time.
 *
 * @returns how many were applied
 * @throws {StartupError} the database can't be reached or refuses; the connection string is never part of it
 */
export async function migrate(databaseUrl: string): Promise<number> {
  const url = directUrl(databaseUrl)
  const client = new Client({ connectionString: url.href, ...(isLocal(url) ? {} : { ssl: true }) })
  try {
    await client.connect()
    // Held by the session: drizzle's migrator takes no lock of its own.
    await client.query("select pg_advisory_lock($1)", [LOCK])
    const before = await countApplied(client)
    await applyMigrations(drizzle({ client }), { migrationsFolder: new URL("../../drizzle", import.meta.url).pathname })
    return (await countApplied(client)) - before
  } catch (error) {
    const { cause, message } = error as Error
    throw new StartupError(`The database could not be migrated: ${cause instanceof Error ? cause.message : message}`)
  } finally {
    await client.end().catch(() => {})
  }
}

async function countApplied(client: Client): Promise<number> {
  const { rows } = await client.query("select to_regclass('drizzle.__drizzle_migrations') is not null as exists")
  if (!rows[0].exists) return 0
  return (await client.query("select count(*)::int4 as count from drizzle.__drizzle_migrations")).rows[0].count
}

/** Neon's pooler shares sessions between clients, so a session's lock has no meaning there. */
function directUrl(databaseUrl: string): URL {
  const url = URL.parse(databaseUrl)
  if (!url) throw new StartupError("DATABASE_URL is not a connection string: postgresql://user:password@host/database.")
  url.hostname = url.hostname.replace(/^([^.]+)-pooler\./, "$1.")
  return url
}

const isLocal = ({ hostname }: URL) => hostname === "localhost" || hostname === "127.0.0.1" || hostname === "[::1]"

/** `npm run db:migrate` */
if (import.meta.main) {
  try {
    parseArgs({ options: {} })
    const { DATABASE_URL } = await readEnvironment()
    if (!DATABASE_URL)
      throw new StartupError("Set DATABASE_URL to the database to migrate; npm start migrates the local one by itself.")
    const applied = await migrate(DATABASE_URL)
    console.log(applied === 0 ? "The database is up to date." : `Applied ${applied} migration${applied === 1 ? "" : "s"}.`)
  } catch (error) {
    console.error((error as Error).message)
    process.exitCode = 1
  }
}

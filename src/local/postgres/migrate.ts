import { readFile } from "node:fs/promises"
import { createRequire } from "node:module"
import { join } from "node:path"
import type { Client } from "pg"
import { ROOT } from "../root.ts"
import { backfillDedupeKeys } from "./backfill.ts"
import { buildSignalIndexes } from "./indexes.ts"
import { asMigrator } from "./migrator.ts"
import { partitionNewTable } from "./partition.ts"
import { withShortLocks } from "./short-locks.ts"

// As CommonJS: Node reads drizzle's package.json again for each of its 400 ES modules, which takes 0.7 s.
const require = createRequire(import.meta.url)
const { drizzle } = require("drizzle-orm/node-postgres") as typeof import("drizzle-orm/node-postgres")
const { migrate: applyMigrations } =
  require("drizzle-orm/node-postgres/migrator") as typeof import("drizzle-orm/node-postgres/migrator")

const MIGRATIONS = join(ROOT, "drizzle")

/**
 * Migrates the database: runs all pending migrations in one transaction, one migrator at a time, then
 * converts existing rows and builds indexes in steps. When it is stopped, the next call continues. A new
 * database gets a partitioned table `signals` at once.
 *
 * @param databaseUrl of the owner; Neon's pooled host is replaced by the direct one
 * @returns the names of the migrations that were applied
 * @throws {StartupError} the database cannot be reached, or refuses; the message never has the connection
 *   string
 */
export function migrate(databaseUrl: string): Promise<string[]> {
  return asMigrator(databaseUrl, "The database could not be migrated", async (client) => {
    const { pending, isNew } = await pendingMigrations(client)
    await withShortLocks(client, async () => {
      if (pending.length > 0 && !isNew) await lockTables(client)
      await applyMigrations(drizzle({ client }), { migrationsFolder: MIGRATIONS })
    })
    await backfillDedupeKeys(client)
    await buildSignalIndexes(client)
    if (isNew) await partitionNewTable(client)
    return pending
  })
}

/**
 * Begins the transaction of the migrations, and locks all tables that they may change in the same order as a
 * write does. In the order of the migrations there would be deadlocks with writes, under load in every
 * attempt.
 *
 * The "begin" of drizzle's migrator has no effect in an open transaction, and its "commit" ends this one.
 */
async function lockTables(client: Client): Promise<void> {
  await client.query("begin")
  try {
    for (const table of ["batches", "signals", "dead_letters"]) {
      const { rows } = await client.query("select to_regclass($1) is not null as exists", [table])
      if (rows[0].exists) await client.query(`lock table ${table} in access exclusive mode`)
    }
  } catch (error) {
    await client.query("rollback")
    throw error
  }
}

/**
 * Uses the rule of drizzle's migrator: a migration is pending when it is newer than the newest that was
 * applied.
 */
async function pendingMigrations(client: Client): Promise<{ pending: string[]; isNew: boolean }> {
  const journal = JSON.parse(await readFile(join(MIGRATIONS, "meta/_journal.json"), "utf8")) as {
    entries: { tag: string; when: number }[]
  }
  const { rows } = await client.query(
    "select to_regclass('drizzle.__drizzle_migrations') is not null as exists",
  )
  const newest = rows[0].exists
    ? (
        await client.query(
          "select coalesce(max(created_at), 0)::float8 as newest from drizzle.__drizzle_migrations",
        )
      ).rows[0].newest
    : 0
  return {
    pending: journal.entries.filter(({ when }) => when > newest).map(({ tag }) => tag),
    isNew: newest === 0,
  }
}

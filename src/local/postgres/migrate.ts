import { readFile } from "node:fs/promises"
import { join } from "node:path"
import { drizzle } from "drizzle-orm/node-postgres"
import { migrate as applyMigrations } from "drizzle-orm/node-postgres/migrator"
import type { Client } from "pg"
import { ROOT } from "../root.ts"
import { backfillDedupeKeys } from "./backfill.ts"
import { buildSignalIndexes } from "./indexes.ts"
import { asMigrator } from "./migrator.ts"
import { partitionNewTable } from "./partition.ts"
import { withShortLocks } from "./short-locks.ts"

const MIGRATIONS = join(ROOT, "drizzle")

/**
 * Brings the database to the newest schema: all pending migrations in one transaction, one migrator at a time; then, in steps, what they
 * leave to do with the rows that are there. When it is ended in between, the next call continues. A new database gets its table
 * `signals` in partitions at once.
 *
 * @param databaseUrl of the owner; Neon's pooled host is replaced by the direct one
 * @returns the names of those that were applied
 * @throws {StartupError} the database can't be reached or refuses; the connection string is never part of it
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
 * Begins the transaction of the migrations with the locks of all tables that they may change, in the order in which a write takes its own.
 * In the order of the migrations, writes that wait for one table would hold the next one, under load always.
 *
 * The "begin" of drizzle's migrator adds nothing to a transaction that is open, and its "commit" ends this one.
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

/** By the rule of drizzle's migrator: what is younger than the youngest that was applied. */
async function pendingMigrations(client: Client): Promise<{ pending: string[]; isNew: boolean }> {
  const journal = JSON.parse(await readFile(join(MIGRATIONS, "meta/_journal.json"), "utf8")) as {
    entries: { tag: string; when: number }[]
  }
  const { rows } = await client.query("select to_regclass('drizzle.__drizzle_migrations') is not null as exists")
  const newest = rows[0].exists
    ? (await client.query("select coalesce(max(created_at), 0)::float8 as newest from drizzle.__drizzle_migrations")).rows[0]
        .newest
    : 0
  return { pending: journal.entries.filter(({ when }) => when > newest).map(({ tag }) => tag), isNew: newest === 0 }
}

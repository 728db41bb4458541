import { readdir, readFile } from "node:fs/promises"
import { createRequire } from "node:module"
import { join } from "node:path"
import type { Client } from "pg"
import { ROOT } from "../machine/root.ts"
import { adopt, dropFormerIndexes, isBeforeBaseline } from "./adopt.ts"
import { addSignalIndexes, buildSignalIndexes } from "./indexes.ts"
import { asMigrator } from "./migrator.ts"
import { withShortLocks } from "./short-locks.ts"

// As CommonJS: Node reads drizzle's package.json again for each of its ES modules.
const require = createRequire(import.meta.url)
const { readMigrationFiles } = require("drizzle-orm/migrator") as typeof import("drizzle-orm/migrator")

const MIGRATIONS = join(ROOT, "drizzle")

/** One file for each subject; each is applied as a whole, and may be applied again. */
const FUNCTIONS = join(MIGRATIONS, "functions")

/** A migration of drizzle's journal. */
interface Migration {
  name: string
  statements: string[]
  /** SHA-256 of the file. */
  hash: string
  /** Orders the migrations: one is pending when it is newer than the newest that was applied. */
  createdAt: number
}

/**
 * Migrates the database: runs all pending migrations and applies the SQL functions in one transaction, one
 * migrator at a time, then builds indexes in steps. When it is stopped, the next call continues.
 *
 * @param databaseUrl of the owner; Neon's pooled host is replaced by the direct one
 * @returns the names of the migrations that were applied
 * @throws {StartupError} the database cannot be reached, or refuses, or a version before 1.0 has not brought
 *   it to its last migration; the message never has the connection string
 */
export function migrate(databaseUrl: string): Promise<string[]> {
  return asMigrator(databaseUrl, "The database could not be migrated", async (client) => {
    const [baseline, ...later] = await readMigrations()
    if (baseline === undefined) throw new Error("there is no migration")
    const adopted = await isBeforeBaseline(client, baseline.createdAt)
    if (adopted) await adopt(client, baseline, () => applyFunctions(client))
    const applied = await withShortLocks(client, () => applyPending(client, [baseline, ...later]))
    await buildSignalIndexes(client)
    await dropFormerIndexes(client)
    return [...(adopted ? [baseline.name] : []), ...applied]
  })
}

async function readMigrations(): Promise<Migration[]> {
  const journal = JSON.parse(await readFile(join(MIGRATIONS, "meta/_journal.json"), "utf8")) as {
    entries: { tag: string }[]
  }
  return readMigrationFiles({ migrationsFolder: MIGRATIONS }).map(
    ({ sql, hash, folderMillis }, position) => ({
      name: journal.entries[position]?.tag ?? "",
      statements: sql,
      hash,
      createdAt: folderMillis,
    }),
  )
}

/** Runs the pending migrations and records them in drizzle's own table, in one transaction. */
async function applyPending(client: Client, migrations: readonly Migration[]): Promise<string[]> {
  const newest = await newestApplied(client)
  const pending = migrations.filter(({ createdAt }) => createdAt > newest)
  if (pending.length === 0) return []
  await client.query("begin")
  try {
    if (newest > 0) await lockTables(client)
    await client.query(`
      create schema if not exists drizzle;
      create table if not exists drizzle.__drizzle_migrations (
        id serial primary key, hash text not null, created_at bigint
      )`)
    for (const { statements, hash, createdAt } of pending) {
      for (const statement of statements) await client.query(statement)
      await client.query("insert into drizzle.__drizzle_migrations (hash, created_at) values ($1, $2)", [
        hash,
        createdAt,
      ])
    }
    await applyFunctions(client)
    if (newest === 0) {
      // Before the first partition, which then has them from the start.
      await addSignalIndexes(client)
      await client.query("select make_signal_partitions()")
    }
    await client.query("commit")
  } catch (error) {
    await client.query("rollback").catch(() => {})
    throw error
  }
  return pending.map(({ name }) => name)
}

/** The time of the newest migration that was applied; 0 in a new database. */
async function newestApplied(client: Client): Promise<number> {
  const { rows } = await client.query(
    "select to_regclass('drizzle.__drizzle_migrations') is not null as exists",
  )
  if (!rows[0].exists) return 0
  const applied = await client.query(
    "select coalesce(max(created_at), 0)::float8 as newest from drizzle.__drizzle_migrations",
  )
  return applied.rows[0].newest
}

/**
 * Locks the tables that migrations may change in the order of a write. In the order of the migrations there
 * would be deadlocks with writes, under load in every attempt.
 */
const lockTables = (client: Client) =>
  client.query("lock table batches, signals, dead_letters in access exclusive mode")

/**
 * Creates or replaces every SQL function, in the open transaction. `set search_path from current` in their
 * files means the schema of the tables: what they name must not be another's, neither a temporary table nor a
 * table of another schema.
 */
async function applyFunctions(client: Client): Promise<void> {
  await client.query("select set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true)")
  for (const file of (await readdir(FUNCTIONS)).sort())
    await client.query(await readFile(join(FUNCTIONS, file), "utf8"))
}

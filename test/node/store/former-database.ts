import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { drizzle } from "drizzle-orm/node-postgres"
import { migrate } from "drizzle-orm/node-postgres/migrator"
import { Client } from "pg"
import { migrate as migrateToNewest } from "../../../src/local/postgres/migrate.ts"
import { startTemporaryPostgres } from "../../../src/local/postgres/postgres.ts"

const MIGRATIONS = fileURLToPath(new URL("../../../drizzle", import.meta.url))

/** Brings an empty database to what it was just before a migration. */
export async function migrateUntil(databaseUrl: string, migration: string): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "signal-ingest-migrations-"))
  const client = new Client({ connectionString: databaseUrl })
  await client.connect()
  try {
    await cp(MIGRATIONS, folder, { recursive: true })
    const file = join(folder, "meta/_journal.json")
    const journal = JSON.parse(await readFile(file, "utf8")) as { entries: { tag: string }[] }
    const end = journal.entries.findIndex(({ tag }) => tag.endsWith(migration))
    if (end < 0) throw new Error(`there is no migration ${migration}`)
    await writeFile(file, JSON.stringify({ ...journal, entries: journal.entries.slice(0, end) }))
    await migrate(drizzle({ client }), { migrationsFolder: folder })
  } finally {
    await client.end()
    await rm(folder, { recursive: true, force: true })
  }
}

/** A database that an earlier version made: the newest schema, with `signals` as a plain table. */
export interface PlainStorage {
  url: string
  query<Row>(text: string, values?: unknown[]): Promise<Row[]>
  stop(): Promise<void>
}

export async function startPlainStorage(): Promise<PlainStorage> {
  const postgres = await startTemporaryPostgres()
  const { url } = postgres
  await migrateUntil(url, "_dedupe_keys")
  await migrateToNewest(url)
  return {
    url,
    async query<Row>(text: string, values: unknown[] = []) {
      const client = new Client({ connectionString: url })
      await client.connect()
      try {
        return (await client.query(text, values)).rows as Row[]
      } finally {
        await client.end()
      }
    },
    stop: () => postgres.stop(),
  }
}

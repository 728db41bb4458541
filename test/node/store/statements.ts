import { NeonDbError } from "@neondatabase/serverless"
import { PgDialect } from "drizzle-orm/pg-core"
import type { Client, DatabaseError as DatabaseReport } from "pg"
import { uuidv7 } from "uuidv7"
import { planBatch } from "../../../src/signals/plan.ts"
import type { Signal } from "../../../src/signals/schema.ts"
import type { NewBatch } from "../../../src/store/batches/batch.ts"
import { writeBatch } from "../../../src/store/batches/write.ts"
import type { Database } from "../../../src/store/database/connection.ts"
import { databaseErrorOf } from "../../../src/store/database/errors.ts"

export const batchOf = (signals: Signal[]): NewBatch => ({
  transactionId: uuidv7(),
  caller: "tests",
  plan: planBatch(signals, "2026-01-02T03:04:05.000000Z"),
  allOrNothing: false,
})

/** The service's database on a connection of Postgres', so that a test may hold its transaction open. */
export function databaseOn(client: Client): Database {
  const dialect = new PgDialect()
  return {
    deadlineAt: Date.now() + 30_000,
    usage: { attempts: 0, ms: 0 },
    traffic: "writes",
    keepAlive: () => {},
    async query<Row>(statement: Parameters<Database["query"]>[0]) {
      const { sql, params } = dialect.sqlToQuery(statement)
      try {
        return (await client.query(sql, params)).rows as Row[]
      } catch (error) {
        const { message, code, constraint, detail } = error as DatabaseReport
        throw databaseErrorOf(Object.assign(new NeonDbError(message), { code, constraint, detail }))
      }
    },
  }
}

/** Stores a batch as the service does, with `[id, duplicate]` of each signal. */
export async function write(
  client: Client,
  signals: Signal[],
): Promise<[id: number | null, duplicate: boolean][]> {
  const { stored } = await writeBatch(databaseOn(client), batchOf(signals))
  return stored.map(({ id, duplicate }) => [id, duplicate])
}

import type { SQL } from "drizzle-orm"
import { PgDialect } from "drizzle-orm/pg-core"
import type { Database } from "../../src/store/database/connection.ts"

/**
 * Returns the first statement that `work` sends. No database runs it: every statement is answered without
 * rows.
 */
export async function firstStatement(
  work: (db: Database) => Promise<unknown>,
): Promise<{ sql: string; params: unknown[] }> {
  const sent: SQL[] = []
  const db: Database = {
    deadlineAt: Date.now(),
    usage: { attempts: 0, ms: 0 },
    traffic: "reads",
    keepAlive: () => {},
    query: async (statement) => {
      sent.push(statement)
      return []
    },
  }
  // `work` may need rows, but only after its first statement.
  await work(db).catch(() => {})
  const [statement] = sent
  if (!statement) throw new Error("no statement was sent")
  return new PgDialect().sqlToQuery(statement)
}

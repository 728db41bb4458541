import { Client, type ClientConfig, type DatabaseError } from "pg"
import type { QueryOutcome } from "./neon-answers.ts"

/** One statement as the driver sends it: parameters are text or null. */
export interface Statement {
  query: string
  params?: unknown[]
}

/** What Neon's proxy runs before a connection may serve the next caller, so that no session state leaks. */
const RESET =
  "ROLLBACK; CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; DEALLOCATE ALL; UNLISTEN *; " +
  "SELECT pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES"

const MAX_IDLE = 20

/** Connections to Postgres by connection string, kept open between requests as Neon's proxy keeps them. */
export class Sessions {
  readonly #idle = new Map<string, Client[]>()
  readonly #open = new Set<Client>()

  /** A connection in its first state. Throws what `pg` throws when it can't be opened. */
  async take(url: string): Promise<Client> {
    const idle = this.#idle.get(url)?.pop()
    if (idle) return idle
    const client = new Client({ connectionString: url } satisfies ClientConfig)
    client.on("error", () => this.discard(client))
    await client.connect()
    this.#open.add(client)
    return client
  }

  /** Takes a connection back; it is reset while nobody waits for it. */
  giveBack(url: string, client: Client): void {
    client.query(RESET).then(
      () => {
        const idle = this.#idle.get(url) ?? []
        this.#idle.set(url, idle)
        if (idle.length < MAX_IDLE && this.#open.has(client)) idle.push(client)
        else this.discard(client)
      },
      () => this.discard(client),
    )
  }

  discard(client: Client): void {
    this.#open.delete(client)
    for (const idle of this.#idle.values()) {
      const position = idle.indexOf(client)
      if (position >= 0) idle.splice(position, 1)
    }
    client.end().catch(() => {})
  }

  /** Cancels what a connection runs, if it still does, from a connection of its own, as the protocol has it. */
  async cancel(url: string, client: Client, stillRuns: () => boolean): Promise<void> {
    const { processID } = client as unknown as { processID: number }
    const other = await this.take(url)
    if (!stillRuns()) return this.giveBack(url, other)
    await other.query("select pg_cancel_backend($1)", [processID]).catch(() => {})
    this.giveBack(url, other)
  }

  async close(): Promise<void> {
    await Promise.all([...this.#open].map((client) => client.end().catch(() => {})))
    this.#open.clear()
    this.#idle.clear()
  }
}

/** Every value as Postgres' own text. */
const AS_TEXT = { getTypeParser: () => (value: string) => value }

/** Runs one statement by the extended protocol, which takes just one statement a text, as at Neon. */
export async function runStatement(client: Client, { query, params = [] }: Statement): Promise<QueryOutcome> {
  const config = {
    text: query,
    values: params.map(asParameter),
    rowMode: "array" as const,
    types: AS_TEXT,
    queryMode: "extended",
  }
  return (await client.query(config)) as unknown as QueryOutcome
}

/** Neon's proxy takes JSON values, too, though the driver sends only text. */
function asParameter(value: unknown): string | null {
  if (value === null || typeof value === "string") return value
  return typeof value === "object" && !Array.isArray(value)
    ? JSON.stringify(value)
    : Array.isArray(value)
      ? arrayLiteral(value)
      : String(value)
}

function arrayLiteral(values: unknown[]): string {
  const elements = values.map((value) => {
    if (value === null) return "NULL"
    return Array.isArray(value) ? arrayLiteral(value) : `"${String(asParameter(value)).replace(/["\\]/g, "\\$&")}"`
  })
  return `{${elements.join(",")}}`
}

export interface BatchOptions {
  isolationLevel?: string | undefined
  readOnly?: boolean
  deferrable?: boolean
}

const ISOLATION_LEVELS: Record<string, string> = {
  ReadUncommitted: "READ UNCOMMITTED",
  ReadCommitted: "READ COMMITTED",
  RepeatableRead: "REPEATABLE READ",
  Serializable: "SERIALIZABLE",
}

/** Runs statements in one transaction; the first error undoes all and is the only one told. */
export async function runBatch(client: Client, statements: Statement[], options: BatchOptions): Promise<QueryOutcome[]> {
  const { isolationLevel, readOnly, deferrable } = options
  const modes = [
    isolationLevel && `ISOLATION LEVEL ${ISOLATION_LEVELS[isolationLevel] ?? "READ COMMITTED"}`,
    readOnly && "READ ONLY",
    deferrable && "DEFERRABLE",
  ]
  await client.query(`START TRANSACTION ${modes.filter(Boolean).join(", ")}`)
  const outcomes: QueryOutcome[] = []
  for (const statement of statements) outcomes.push(await runStatement(client, statement))
  await client.query("COMMIT")
  return outcomes
}

export type PostgresError = Partial<DatabaseError>

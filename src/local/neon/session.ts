import { Client, Query } from "pg"
import { isFromPostgres, type PostgresError, type QueryOutcome } from "./answers.ts"
import type { Statement, TransactionOptions } from "./request.ts"

/** Neon's proxy runs this on a returned connection, so that no session state leaks to the next caller. */
const RESET =
  "ROLLBACK; CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; DEALLOCATE ALL; UNLISTEN *; " +
  "SELECT pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES"

const MAX_IDLE = 20

/** Postgres cannot be reached, or refuses the login. */
export class ConnectError extends Error {
  override readonly cause: PostgresError

  constructor(cause: PostgresError) {
    super("no connection to Postgres")
    this.cause = cause
  }
}

/** Connections to Postgres by connection string. They stay open between requests, as in Neon's proxy. */
export class Sessions {
  readonly #idle = new Map<string, Client[]>()
  readonly #open = new Set<Client>()
  #closed = false

  /**
   * Lends a connection in its initial state to `work`, and cancels the running statement when `cancelled`
   * aborts.
   *
   * @param options.keepOnError whether the connection is used again after an error that Postgres reported
   * @throws {ConnectError} and whatever `work` throws
   */
  async lend<T>(
    connectionString: string,
    cancelled: AbortSignal,
    options: { keepOnError: boolean },
    work: (client: Client) => Promise<T>,
  ): Promise<T> {
    const client = await this.#take(connectionString)
    const cancel = () => void this.#cancel(connectionString, client).catch(() => {})
    cancelled.addEventListener("abort", cancel)
    let keep = false
    try {
      cancelled.throwIfAborted()
      const result = await work(client)
      // Neon drops a connection on which a transaction is still open.
      keep = client.getTransactionStatus() === "I"
      return result
    } catch (error) {
      if (error instanceof ResponseTooLarge && error.rowsAreLeft) client.connection.stream.destroy()
      keep = options.keepOnError && isHarmless(error as PostgresError)
      throw error
    } finally {
      cancelled.removeEventListener("abort", cancel)
      // A pending cancel must not hit the statement of the next caller.
      if (keep && !cancelled.aborted) this.#giveBack(connectionString, client)
      else this.#discard(client)
    }
  }

  /** Closes every connection, even one in use, and opens no more. */
  async close(): Promise<void> {
    this.#closed = true
    const idle = [...this.#idle.values()].flat()
    for (const client of this.#open) if (!idle.includes(client)) client.connection.stream.destroy()
    await Promise.all(idle.map((client) => client.end()))
  }

  async #take(connectionString: string): Promise<Client> {
    // The connection that was returned first: its reset is most likely done.
    const idle = this.#idle.get(connectionString)?.shift()
    if (idle) return idle
    if (this.#closed) throw new ConnectError({})
    const client = new Client({ connectionString, pipeline: true })
    client.on("error", () => this.#discard(client))
    client.on("end", () => this.#discard(client))
    this.#open.add(client)
    try {
      await client.connect()
      return client
    } catch (error) {
      this.#discard(client)
      throw new ConnectError(error as PostgresError)
    }
  }

  /** Makes the connection available at once: Postgres runs the next caller's statements after the reset. */
  #giveBack(connectionString: string, client: Client): void {
    const idle = this.#idle.get(connectionString) ?? []
    this.#idle.set(connectionString, idle)
    if (idle.length >= MAX_IDLE || !this.#open.has(client)) {
      this.#discard(client)
      return
    }
    idle.push(client)
    client.query(RESET).catch(() => this.#discard(client))
  }

  #discard(client: Client): void {
    if (!this.#open.delete(client)) return
    for (const idle of this.#idle.values()) {
      const position = idle.indexOf(client)
      if (position >= 0) idle.splice(position, 1)
    }
    client.end().catch(() => {})
  }

  /** Cancels from another connection, as the protocol requires. */
  async #cancel(connectionString: string, client: Client): Promise<void> {
    const { processID } = client as unknown as { processID: number }
    const { signal } = new AbortController()
    await this.lend(connectionString, signal, { keepOnError: false }, (canceller) =>
      canceller.query("select pg_cancel_backend($1)", [processID]),
    )
  }
}

/** Whether the connection can be used again after this error and a rollback. */
const isHarmless = (error: PostgresError) =>
  (error instanceof ResponseTooLarge && !error.rowsAreLeft) ||
  (isFromPostgres(error) && error.severity === "ERROR")

/** The result is longer than the endpoint may send. */
export class ResponseTooLarge extends Error {
  /** Whether the endpoint stopped before the last row. The connection cannot be used again then. */
  readonly rowsAreLeft: boolean

  constructor(limitBytes: number, { rowsAreLeft }: { rowsAreLeft: boolean }) {
    super(`response is too large (max is ${limitBytes} bytes)`)
    this.rowsAreLeft = rowsAreLeft
  }
}

/** Returns every value in Postgres' text format. */
const AS_TEXT = { getTypeParser: () => (value: string) => value }

/**
 * Runs one statement by the extended protocol, which allows only one statement in a text, as in Neon. Keeps
 * at most `limitBytes` of rows, and reads at most the same amount again, so that a statement that is nearly
 * done can commit.
 *
 * @throws {ResponseTooLarge}
 */
export async function runStatement(
  client: Client,
  { query: text, params = [] }: Statement,
  limitBytes: number,
): Promise<QueryOutcome> {
  const config = {
    text,
    values: params.map(asParameter),
    rowMode: "array" as const,
    types: AS_TEXT,
    queryMode: "extended",
  }
  return new Promise((resolve, reject) => {
    const rows: QueryOutcome["rows"] = []
    let bytes = 0
    let bytesLeftOut = 0
    const query = new Query<(string | null)[]>(config)
    query.on("row", (row: unknown) => {
      const values = row as (string | null)[]
      // In JSON a value is never shorter than its text.
      const length = values.reduce((sum, value) => sum + (value?.length ?? 0), 0)
      if (bytes <= limitBytes) {
        bytes += length
        if (bytes <= limitBytes) rows.push(values)
        else rows.length = 0
      } else {
        bytesLeftOut += length
        if (bytesLeftOut > limitBytes) reject(new ResponseTooLarge(limitBytes, { rowsAreLeft: true }))
      }
    })
    query.on("end", (result: unknown) => {
      if (bytes > limitBytes) reject(new ResponseTooLarge(limitBytes, { rowsAreLeft: false }))
      else resolve({ ...(result as QueryOutcome), rows })
    })
    query.on("error", reject)
    client.query(query)
  })
}

/** Neon's proxy also accepts JSON values, though the driver sends only text. */
function asParameter(value: unknown): string | null {
  if (value === null || typeof value === "string") return value
  return Array.isArray(value) ? arrayLiteral(value) : JSON.stringify(value)
}

function arrayLiteral(values: unknown[]): string {
  const elements = values.map((value) => {
    if (value === null) return "NULL"
    if (Array.isArray(value)) return arrayLiteral(value)
    return JSON.stringify(typeof value === "object" ? JSON.stringify(value) : value)
  })
  return `{${elements.join(",")}}`
}

/** Opens a transaction for `work` and commits it; when `work` throws, the connection's reset rolls back. */
export async function inTransaction<T>(
  client: Client,
  options: TransactionOptions,
  work: () => Promise<T>,
): Promise<T> {
  const modes = [
    options.isolationLevel && `ISOLATION LEVEL ${options.isolationLevel}`,
    options.readOnly && "READ ONLY",
    options.deferrable && "DEFERRABLE",
  ]
  await client.query(`START TRANSACTION ${modes.filter(Boolean).join(", ")}`)
  const result = await work()
  await client.query("COMMIT")
  return result
}

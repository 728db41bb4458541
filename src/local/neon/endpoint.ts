import { randomUUID } from "node:crypto"
import type { IncomingMessage, ServerResponse } from "node:http"
import { setTimeout as sleep } from "node:timers/promises"
import { mayComeFromPage, readBody, startServer } from "../machine/http-server.ts"
import {
  connectFailure,
  type EndpointAnswer,
  errorAnswer,
  type PostgresError,
  resultText,
  statementFailure,
} from "./answers.ts"
import { BadRequest, readSqlRequest, type SqlRequest } from "./request.ts"
import { ConnectError, inTransaction, ResponseTooLarge, runStatement, Sessions } from "./session.ts"

/** Injected faults. Tests can change them while the endpoint runs. */
interface EndpointFaults {
  /** Milliseconds added to every answer, as by a longer network path. */
  latencyMs: number
  /** The number of next statements that run and commit, but whose connection breaks before the answer. */
  loseAnswers: number
  /** The damage to the answers of the next statements, in order. The statements run and commit. */
  spoil: SpoiledAnswer[]
  /** Answers for the next statements, in order; these statements do not run. */
  failures: { status: number; message: string; code?: string }[]
  /** Stops listening and closes every connection, until `accept`. */
  refuse(): Promise<void>
  accept(): Promise<void>
}

/**
 * `cut`: the connection breaks in the middle of the body. `stall`: the rest of the body never arrives. `no`:
 * the answer arrives as it is, so that a later one can be spoiled. Otherwise: a proxy's page.
 */
export type SpoiledAnswer = "no" | "cut" | "stall" | { status: number; page: string }

export interface NeonEndpoint {
  /** The value of `neonConfig.fetchEndpoint`. */
  url: string
  faults: EndpointFaults
  /** How many requests it has taken so far. */
  requests(): number
  stop(): Promise<void>
}

export interface EndpointOptions {
  /** Default: any free port. */
  port?: number
  /**
   * The only connection string that is served, with any password. Default: every Postgres that a caller
   * names.
   */
  only?: string
  /** Neon documents 64 MB each way. */
  maxRequestBytes?: number
  maxResponseBytes?: number
  /** The faults at the start. Default: none. */
  faults?: Partial<Pick<EndpointFaults, "latencyMs" | "loseAnswers" | "failures">>
}

const NEON_LIMIT_BYTES = 64 * 1024 * 1024

/**
 * Implements Neon's SQL over HTTP in front of Postgres, so that Neon's driver works unchanged.
 *
 * It differs from Neon's proxy in four ways. It refuses web pages (no CORS headers, no `Origin`, no foreign
 * `Host`), since it listens on the developer's machine. A connection that was opened with a role's former
 * password works until it is closed: Postgres checks the password only when a connection opens. Above the
 * response limit it reads up to the same amount again before it stops. In JSON mode, which the driver never
 * uses, it writes an array of an enum as text.
 *
 * @see https://github.com/neondatabase/neon/blob/main/proxy/src/serverless/sql_over_http.rs
 */
export async function startNeonEndpoint(options: EndpointOptions = {}): Promise<NeonEndpoint> {
  const { maxRequestBytes = NEON_LIMIT_BYTES, maxResponseBytes = NEON_LIMIT_BYTES } = options
  const sessions = new Sessions()
  const server = await startServer((request, response) => {
    handle(request, response).catch(() => response.destroy())
  }, options.port)
  const { port } = server

  const faults: EndpointFaults = {
    latencyMs: 0,
    loseAnswers: 0,
    spoil: [],
    failures: [],
    ...options.faults,
    refuse: server.close,
    accept: server.listen,
  }

  let taken = 0

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    taken++
    if (mayComeFromPage(request.headers, port)) return void response.writeHead(403).end()
    response.setHeader("neon-request-id", randomUUID())
    if (request.url !== "/sql") return void response.writeHead(404).end()
    const cancelled = new AbortController()
    response.once("close", () => response.writableFinished || cancelled.abort())

    const body = await readBody(request, maxRequestBytes)
    const { status, body: text } = body
      ? await answerTo(request, response, body, cancelled.signal)
      : errorAnswer(413, `request is too large (max is ${maxRequestBytes} bytes)`)
    const isLost = status === 200 && faults.loseAnswers > 0
    if (isLost) faults.loseAnswers--
    if (faults.latencyMs > 0) await sleep(faults.latencyMs)
    if (isLost) return void response.destroy()
    const spoiled = status === 200 ? faults.spoil.shift() : undefined
    if (typeof spoiled === "object") return void response.writeHead(spoiled.status).end(spoiled.page)
    const bytes = Buffer.from(text)
    response.writeHead(status, { "Content-Type": "application/json", "Content-Length": bytes.length })
    if (!spoiled || spoiled === "no") return void response.end(bytes)
    response.write(bytes.subarray(0, bytes.length / 2), () => spoiled === "cut" && response.destroy())
  }

  async function answerTo(
    { headers }: IncomingMessage,
    response: ServerResponse,
    body: Buffer,
    cancelled: AbortSignal,
  ): Promise<EndpointAnswer> {
    const failure = faults.failures.shift()
    if (failure) return errorAnswer(failure.status, failure.message, { code: failure.code })
    try {
      const request = readSqlRequest(headers, body)
      if (options.only !== undefined && !namesSameDatabase(request.connectionString, options.only))
        return errorAnswer(403, "This endpoint serves only the database of npm start.")
      const text = await runStatements(sessions, request, { cancelled, maxResponseBytes })
      // Neon returns the headers that took effect.
      if (request.transaction) for (const name of BATCH_HEADERS) echo(name, headers, response)
      return { status: 200, body: text }
    } catch (error) {
      if (error instanceof BadRequest) return errorAnswer(400, error.message)
      if (error instanceof ConnectError) return connectFailure(error.cause)
      if (error instanceof ResponseTooLarge) return errorAnswer(507, error.message)
      return statementFailure(error as PostgresError)
    }
  }

  return {
    url: `http://127.0.0.1:${port}/sql`,
    faults,
    requests: () => taken,
    async stop() {
      if (server.isListening()) await server.close()
      await sessions.close()
    },
  }
}

/** Runs the statements of a request on a connection of their own. @returns the text of the answer */
function runStatements(
  sessions: Sessions,
  { connectionString, statements, transaction, ...modes }: SqlRequest,
  { cancelled, maxResponseBytes }: { cancelled: AbortSignal; maxResponseBytes: number },
): Promise<string> {
  // Neon's proxy also closes a connection on which a single statement fails.
  const options = { keepOnError: transaction !== undefined }
  return sessions.lend(connectionString, cancelled, options, async (client) => {
    let length = 0
    const texts: string[] = []
    const runAll = async () => {
      for (const statement of statements) {
        cancelled.throwIfAborted()
        const { arrayMode = modes.arrayMode } = statement
        const result = await runStatement(client, statement, maxResponseBytes)
        const text = resultText(result, { ...modes, arrayMode })
        length += Buffer.byteLength(text)
        // In a transaction this rolls back everything. A single statement has already committed, as in Neon.
        if (length > maxResponseBytes) throw new ResponseTooLarge(maxResponseBytes, { rowsAreLeft: false })
        texts.push(text)
      }
    }
    if (!transaction) await runAll()
    else await inTransaction(client, transaction, runAll)
    return transaction ? `{"results":[${texts}]}` : texts.join()
  })
}

/**
 * Whether two connection strings name the same database and role, whatever their passwords. Parameters count:
 * `?host=` names another server.
 */
function namesSameDatabase(a: string, b: string): boolean {
  const [left, right] = [new URL(a), new URL(b)]
  left.password = right.password
  // The driver writes its own name there.
  for (const url of [left, right]) url.searchParams.delete("application_name")
  return left.href === right.href
}

const BATCH_HEADERS = ["Neon-Batch-Isolation-Level", "Neon-Batch-Read-Only", "Neon-Batch-Deferrable"]

function echo(name: string, headers: IncomingMessage["headers"], response: ServerResponse): void {
  const value = headers[name.toLowerCase()]
  if (value !== undefined && value !== "false") response.setHeader(name, value)
}

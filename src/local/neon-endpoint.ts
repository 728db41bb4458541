import { randomUUID } from "node:crypto"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import type { Client } from "pg"
import { connectFailure, type EndpointAnswer, errorAnswer, resultAnswer, statementFailure } from "./neon-answers.ts"
import { type PostgresError, runBatch, runStatement, Sessions, type Statement } from "./neon-session.ts"

/** What the endpoint does wrong on purpose, for tests; everything may be changed while it runs. */
export interface EndpointFaults {
  /** Milliseconds added to every answer, as a longer way to the database would. */
  latencyMs: number
  /** How many of the next statements are run and committed, but their answer is lost: the connection breaks instead. */
  loseAnswers: number
  /** Answers given instead of running the next statements, in order. */
  failures: { status: number; message: string; code?: string }[]
  /** Stops listening and breaks every connection, until `accept`. */
  refuse(): Promise<void>
  accept(): Promise<void>
}

export interface NeonEndpoint {
  /** What `neonConfig.fetchEndpoint` is set to. */
  url: string
  faults: EndpointFaults
  stop(): Promise<void>
}

export interface EndpointOptions {
  port?: number
  /** Neon documents 64 MB each way. */
  maxRequestBytes?: number
  maxResponseBytes?: number
}

const NEON_LIMIT_BYTES = 64 * 1024 * 1024

/**
 * Speaks Neon's SQL over HTTP in front of any Postgres, so that Neon's own driver works with it unchanged.
 *
 * @see https://github.com/neondatabase/neon/blob/main/proxy/src/serverless/sql_over_http.rs
 */
export async function startNeonEndpoint(options: EndpointOptions = {}): Promise<NeonEndpoint> {
  const { maxRequestBytes = NEON_LIMIT_BYTES, maxResponseBytes = NEON_LIMIT_BYTES } = options
  const sessions = new Sessions()
  const server = createServer({ keepAliveTimeout: 60_000 }, (request, response) => {
    answer(request, response).catch(() => response.destroy())
  })
  const listen = (port: number) =>
    new Promise<void>((resolve, reject) => {
      server.once("error", reject).listen(port, "127.0.0.1", () => {
        server.off("error", reject)
        resolve()
      })
    })
  await listen(options.port ?? 0)
  const { port } = server.address() as AddressInfo
  const close = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve())
      server.closeAllConnections()
    })

  const faults: EndpointFaults = {
    latencyMs: 0,
    loseAnswers: 0,
    failures: [],
    refuse: close,
    accept: () => listen(port),
  }

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.setHeader("Access-Control-Allow-Origin", "*").setHeader("neon-request-id", randomUUID())
    if (request.url !== "/sql") return void response.writeHead(404).end()
    if (request.method === "OPTIONS") {
      const allowed = {
        "Access-Control-Allow-Methods": "POST",
        "Access-Control-Allow-Headers": "*",
        "Access-Control-Max-Age": "86400",
      }
      return void response.writeHead(204, allowed).end()
    }
    const { status, body, loseAnswer } = await answerTo(request, response)
    if (faults.latencyMs > 0) await new Promise((resolve) => setTimeout(resolve, faults.latencyMs))
    if (loseAnswer) return void response.destroy()
    const text = JSON.stringify(body)
    // The statement has run by now: as at Neon, too large an answer does not undo a single one.
    if (text.length > maxResponseBytes) return send(response, errorAnswer(507, "response is too large"))
    send(response, { status, body: text })
  }

  async function answerTo(
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<EndpointAnswer & { loseAnswer?: boolean }> {
    const bytes = await readBody(request, maxRequestBytes)
    if (!bytes) return errorAnswer(413, "request is too large")
    const failure = faults.failures.shift()
    if (failure) return errorAnswer(failure.status, failure.message, { code: failure.code })
    const url = connectionString(request)
    if (!url) return errorAnswer(400, "invalid connection string: missing header or not a Postgres URL")
    const work = readWork(bytes)
    if (work instanceof Error) return errorAnswer(400, `could not parse the HTTP request body: ${work.message}`)

    let client: Client
    try {
      client = await sessions.take(url)
    } catch (error) {
      return connectFailure(error as PostgresError)
    }
    let runs = true
    const cancel = () => void sessions.cancel(url, client, () => runs).catch(() => {})
    response.once("close", cancel)
    try {
      const mode = {
        arrayMode: request.headers["neon-array-mode"] === "true",
        rawText: request.headers["neon-raw-text-output"] === "true",
      }
      const body = Array.isArray(work)
        ? {
            results: (await runBatch(client, work, batchOptions(request, response))).map((outcome) =>
              resultAnswer(outcome, mode),
            ),
          }
        : resultAnswer(await runStatement(client, work), mode)
      sessions.giveBack(url, client)
      const loseAnswer = faults.loseAnswers > 0
      if (loseAnswer) faults.loseAnswers--
      return { status: 200, body, loseAnswer }
    } catch (error) {
      // Like the proxy, which keeps no connection on which a statement failed.
      sessions.discard(client)
      return statementFailure(error as PostgresError)
    } finally {
      runs = false
      response.off("close", cancel)
    }
  }

  return {
    url: `http://127.0.0.1:${port}/sql`,
    faults,
    async stop() {
      if (server.listening) await close()
      await sessions.close()
    },
  }
}

function send(response: ServerResponse, { status, body }: { status: number; body: string | object }): void {
  const text = typeof body === "string" ? body : JSON.stringify(body)
  response.writeHead(status, { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(text) }).end(text)
}

/** Undefined when the body is longer than `limitBytes`. */
async function readBody(request: IncomingMessage, limitBytes: number): Promise<Buffer | undefined> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length
    if (length <= limitBytes) chunks.push(chunk)
  }
  return length <= limitBytes ? Buffer.concat(chunks, length) : undefined
}

function readWork(bytes: Buffer): Statement | Statement[] | Error {
  try {
    const work = JSON.parse(bytes.toString("utf8")) as Partial<Statement> & { queries?: Statement[] }
    const statements = work.queries ?? [work]
    if (!Array.isArray(statements) || statements.some(({ query }) => typeof query !== "string"))
      return new Error("missing field `query`")
    return work.queries ?? (work as Statement)
  } catch (error) {
    return error as Error
  }
}

function connectionString(request: IncomingMessage): string | undefined {
  const header = request.headers["neon-connection-string"]
  return typeof header === "string" && /^postgres(ql)?:\/\//.test(header) ? header : undefined
}

/** Reads the options of a transaction, and echoes those that were given, as the proxy does. */
function batchOptions({ headers }: IncomingMessage, response: ServerResponse) {
  const isolationLevel = headers["neon-batch-isolation-level"] as string | undefined
  const readOnly = headers["neon-batch-read-only"] === "true"
  const deferrable = headers["neon-batch-deferrable"] === "true"
  if (isolationLevel) response.setHeader("Neon-Batch-Isolation-Level", isolationLevel)
  if (readOnly) response.setHeader("Neon-Batch-Read-Only", "true")
  if (deferrable) response.setHeader("Neon-Batch-Deferrable", "true")
  return { isolationLevel, readOnly, deferrable }
}

import { randomBytes } from "node:crypto"
import type { IncomingMessage, ServerResponse } from "node:http"
import { DatabaseError, Pool } from "pg"
import { DATASET } from "../../metrics/points.ts"
import { mayComeFromPage, readBody, startServer } from "../machine/http-server.ts"
import { preparePoints, RefusedPoint, writePoint } from "./points.ts"
import { answerText, translateQuery } from "./sql.ts"
import { RefusedQuery, unknown } from "./tokens.ts"

/** Injected faults. Tests can change them while the server runs. */
interface AnalyticsFaults {
  /** Answers for the next queries, in order; these queries are not run. */
  failures: { status: number; body: string }[]
  /** While set, the server does not answer queries and leaves their connections open. */
  hang: boolean
  /** Stops listening and closes every connection, until `accept`. */
  refuse(): Promise<void>
  accept(): Promise<void>
}

/**
 * A local stand-in for Analytics Engine: stores points in Postgres, and answers SQL queries as Cloudflare's
 * API does.
 */
export interface LocalAnalytics {
  /**
   * Replaces https://api.cloudflare.com/client/v4. Queries go to `/accounts/ID/analytics_engine/sql` below
   * it.
   */
  url: string
  /** Receives points: `POST` with the token and `{"dataset": "...", "point": {...}}`. */
  pointsUrl: string
  token: string
  faults: AnalyticsFaults
  stop(): Promise<void>
}

export interface AnalyticsOptions {
  databaseUrl: string
  /** Random by default. */
  token?: string
  /** Datasets that can be queried before they have a point. */
  datasets?: readonly string[]
}

interface Answer {
  status: number
  body: string
  type?: string
}

/** Bound of a request's body. */
const MAX_BODY_BYTES = 1024 * 1024

/**
 * Times are UTC, whatever the time zone of the database is. A lost point costs nothing, so a commit does not
 * wait for the disk.
 */
const SESSION = "-c timezone=UTC -c synchronous_commit=off -c statement_timeout=30000"

/**
 * The classes of Postgres errors about a query: its values, such as a number out of range, and its size, such
 * as 2,000 columns.
 */
const OF_THE_QUERY = /^(22|54)/

export async function startAnalytics(options: AnalyticsOptions): Promise<LocalAnalytics> {
  const { token = randomBytes(24).toString("base64url"), datasets = [DATASET] } = options
  const pool = new Pool({ connectionString: options.databaseUrl, max: 5, options: SESSION })
  // The pool replaces an idle connection that is lost. A connection in use reports the loss to its statement.
  pool.on("error", () => {})
  await preparePoints(pool)

  const server = await startServer((request, response) => {
    handle(request, response).catch(() => response.destroy())
  })
  const { port } = server
  const faults: AnalyticsFaults = {
    failures: [],
    hang: false,
    refuse: server.close,
    accept: server.listen,
  }

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (mayComeFromPage(request.headers, port)) return void response.writeHead(403).end()
    const answer = await answerTo(request)
    if (!answer) return
    const { status, body, type = "text/plain; charset=utf-8" } = answer
    response.writeHead(status, { "Content-Type": type, "Content-Length": Buffer.byteLength(body) }).end(body)
  }

  /** Undefined when the request must stay open without an answer. */
  async function answerTo(request: IncomingMessage): Promise<Answer | undefined> {
    const body = (await readBody(request, MAX_BODY_BYTES))?.toString("utf8")
    const path = request.url?.split("?", 1)[0] ?? ""
    const isQuery = /^\/client\/v4\/accounts\/[^/]+\/analytics_engine\/sql$/.test(path)
    if (!isQuery && path !== "/points") return { status: 404, body: "Not found" }
    if (request.method !== "POST")
      return { status: 405, body: "The local Analytics Engine accepts only POST." }
    if (request.headers.authorization !== `Bearer ${token}`) return NOT_AUTHENTICATED
    if (body === undefined) return { status: 413, body: `A request has at most ${MAX_BODY_BYTES} bytes.` }
    try {
      if (!isQuery) return await store(body)
      if (faults.hang) return undefined
      return faults.failures.shift() ?? (await read(body))
    } catch (error) {
      return refusal(error as Error)
    }
  }

  async function store(body: string): Promise<Answer> {
    const { dataset, point } = JSON.parse(body)
    if (typeof dataset !== "string") throw new RefusedPoint("A point must name its dataset.")
    await writePoint(pool, dataset, point)
    return { status: 204, body: "" }
  }

  async function read(query: string): Promise<Answer> {
    const { text, values, columns, dataset } = translateQuery(query)
    if (!(await exists(dataset.name))) throw unknown(`the dataset ${dataset.name}`, dataset.at)
    const { rows } = await pool.query<string[]>({ text, values, rowMode: "array" })
    return { status: 200, body: answerText(columns, rows), type: "application/json" }
  }

  async function exists(dataset: string): Promise<boolean> {
    if (datasets.includes(dataset)) return true
    const { rows } = await pool.query("select from local_analytics.points where dataset = $1 limit 1", [
      dataset,
    ])
    return rows.length > 0
  }

  return {
    url: `http://127.0.0.1:${port}/client/v4`,
    pointsUrl: `http://127.0.0.1:${port}/points`,
    token,
    faults,
    async stop() {
      if (server.isListening()) await server.close()
      await pool.end()
    },
  }
}

/** The answer of Cloudflare's API to a wrong token. */
const NOT_AUTHENTICATED: Answer = {
  status: 401,
  body: '{"success":false,"errors":[{"code":10000,"message":"Authentication error"}],"messages":[],"result":null}',
  type: "application/json",
}

function refusal(error: Error): Answer {
  if (error instanceof RefusedQuery) return { status: 422, body: error.message }
  if (error instanceof RefusedPoint || error instanceof SyntaxError)
    return { status: 400, body: error.message }
  if (error instanceof DatabaseError && OF_THE_QUERY.test(error.code ?? ""))
    return { status: 422, body: `The local Analytics Engine cannot compute this: ${error.message}.` }
  return { status: 500, body: `The local Analytics Engine failed: ${error.message}` }
}

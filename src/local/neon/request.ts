import { isUtf8 } from "node:buffer"
import type { IncomingHttpHeaders } from "node:http"

/** A statement of the driver. Its parameters are text or null. */
export interface Statement {
  query: string
  params?: unknown[]
  /** Rows as arrays instead of objects; overrides the request's header. */
  arrayMode?: boolean
}

export interface TransactionOptions {
  /** In SQL's spelling. */
  isolationLevel: string | undefined
  readOnly: boolean
  deferrable: boolean
}

/** A request: the statements, and the format of the answer. */
export interface SqlRequest {
  connectionString: string
  statements: readonly Statement[]
  /** The transaction around all statements; undefined for a single statement, which commits on its own. */
  transaction: TransactionOptions | undefined
  arrayMode: boolean
  /** Values in Postgres' text format instead of JSON numbers, booleans and objects. */
  rawText: boolean
}

/** A request that Neon's proxy answers with 400 before it calls Postgres. */
export class BadRequest extends Error {}

const ISOLATION_LEVELS: Record<string, string> = {
  ReadUncommitted: "READ UNCOMMITTED",
  ReadCommitted: "READ COMMITTED",
  RepeatableRead: "REPEATABLE READ",
  Serializable: "SERIALIZABLE",
}

/**
 * Reads a request as Neon's proxy does.
 *
 * @throws {BadRequest} with the message of the proxy
 */
export function readSqlRequest(headers: IncomingHttpHeaders, body: Buffer): SqlRequest {
  const isOn = (name: string) => headers[name] === "true"
  const connectionString = readConnectionString(headers["neon-connection-string"])
  const level = headers["neon-batch-isolation-level"]
  if (level !== undefined && !Object.hasOwn(ISOLATION_LEVELS, String(level)))
    throw new BadRequest("invalid isolation level")
  const { statements, isBatch } = readBody(body)
  return {
    connectionString,
    statements,
    transaction: isBatch
      ? {
          isolationLevel: ISOLATION_LEVELS[String(level)],
          readOnly: isOn("neon-batch-read-only"),
          deferrable: isOn("neon-batch-deferrable"),
        }
      : undefined,
    arrayMode: isOn("neon-array-mode"),
    rawText: isOn("neon-raw-text-output"),
  }
}

function readConnectionString(header: string | string[] | undefined): string {
  if (typeof header !== "string") throw new BadRequest("invalid header: neon-connection-string")
  const url = URL.parse(header)
  if (!url) throw new BadRequest("invalid connection string: relative URL without a base")
  if (!/^postgres(ql)?:$/.test(url.protocol)) throw new BadRequest("incorrect scheme")
  if (url.username === "") throw new BadRequest("missing username")
  if (url.password === "") throw new BadRequest("missing authentication credentials: required password")
  // Neon finds the project by the first label of the host name.
  if (url.hostname === "" || /^[\d.]+$|^\[/.test(url.hostname)) throw new BadRequest("missing hostname")
  return header
}

function readBody(body: Buffer): { statements: Statement[]; isBatch: boolean } {
  const unreadable = (reason: string) => new BadRequest(`could not parse the HTTP request body: ${reason}`)
  if (!isUtf8(body)) throw unreadable("invalid unicode code point")
  let work: unknown
  try {
    work = JSON.parse(body.toString("utf8"))
  } catch (error) {
    throw unreadable((error as Error).message)
  }
  if (isStatement(work)) return { statements: [work], isBatch: false }
  const { queries } = (work ?? {}) as { queries?: unknown }
  if (Array.isArray(queries) && queries.every(isStatement)) return { statements: queries, isBatch: true }
  throw unreadable("data did not match any variant of untagged enum Payload")
}

const isStatement = (work: unknown): work is Statement => {
  const { query, params = [], arrayMode = false } = (work ?? {}) as Record<string, unknown>
  return (
    isText(query) &&
    Array.isArray(params) &&
    params.every((param) => typeof param !== "string" || isText(param)) &&
    typeof arrayMode === "boolean"
  )
}

/** JSON can hold a lone surrogate, which UTF-8 cannot: it would silently become another character. */
const isText = (value: unknown): value is string => typeof value === "string" && value.isWellFormed()

import { waitUntil } from "cloudflare:workers"
import type { Context } from "hono"
import { createMiddleware } from "hono/factory"
import { type ReaderSlot, ReaderSlots } from "../../isolate/reader-slots.ts"
import { CSV_HEADER, csvLine, type ExportedRow, ndjsonLine } from "../../signals/lines.ts"
import { shapeErrors } from "../../signals/shape-errors.ts"
import { connect, type Database } from "../../store/database/connection.ts"
import { DatabaseError } from "../../store/database/errors.ts"
import { listRows, type SignalRows } from "../../store/signals/read.ts"
import type { Cursor, SignalFilter } from "../../store/signals/search.ts"
import type { SelectedRow } from "../../store/signals/stored-signal.ts"
import { MAX_STREAMS, STREAM_BOUNDS, STREAM_PAGE } from "../request/bounds.ts"
import { type App, noteOutcome, ownerOf } from "../request/context.ts"
import { ExportQuery, queryOf } from "../request/params.ts"
import { errorForLog, invalidShape, tooManyStreams } from "../request/problems.ts"
import { preferredType } from "./negotiate.ts"
import { pageLimit, type StreamEnd, streamLines } from "./stream.ts"

interface Format {
  name: "ndjson" | "csv"
  contentType: string
  head: string
  line: (row: ExportedRow) => string
}

const ndjson = (contentType: string): Format => ({ name: "ndjson", contentType, head: "", line: ndjsonLine })

/** The media types of a list. The first, JSON, is a page; the others are streams. */
const FORMATS = {
  "application/json": undefined,
  "application/x-ndjson": ndjson("application/x-ndjson"),
  "application/ndjson": ndjson("application/ndjson"),
  "application/jsonl": ndjson("application/jsonl"),
  "text/csv": {
    name: "csv",
    contentType: "text/csv; charset=utf-8; header=present",
    head: CSV_HEADER,
    line: csvLine,
  },
} as const satisfies Record<string, Format | undefined>

const OFFERS = Object.keys(FORMATS) as (keyof typeof FORMATS)[]

/** A stream renews its slot every second. */
const GONE_AFTER_MS = 10_000

const slots = new ReaderSlots({ most: MAX_STREAMS, goneAfterMs: GONE_AFTER_MS })

/**
 * Answers a list as a stream of lines if the caller prefers NDJSON or CSV, and otherwise as a page of JSON.
 */
export const streamLists = createMiddleware<App>(async (c, next) => {
  c.header("Vary", "Accept", { append: true })
  const type = preferredType(c.req.header("Accept"), OFFERS)
  const format = type && FORMATS[type]
  if (!format) return next()
  const data = queryOf(c)
  const query = ExportQuery.safeParse(data)
  if (!query.success) throw invalidShape(shapeErrors(query.error.issues, data, ["query"]))
  const slot = slots.take(ownerOf(c))
  if (!slot) throw tooManyStreams()
  return await beginStream(c, format, query.data, slot).catch((error) => {
    slot.release()
    throw error
  })
})

async function beginStream(
  c: Context<App>,
  format: Format,
  query: ExportQuery,
  slot: ReaderSlot,
): Promise<Response> {
  const { limit, cursor, ...filter } = query
  const startedAt = Date.now()
  const used: Database["usage"][] = [c.get("db").usage]
  // An error of the first page is still an ordinary answer.
  const first = await listRows(c.get("db"), pageOf(filter, cursor, pageLimit(limit, STREAM_BOUNDS, 0)))
  noteOutcome(c, { stream: format.name })
  c.header("Content-Type", format.contentType)
  if (c.req.method === "HEAD") {
    slot.release()
    return c.body(null)
  }
  const lines = streamLines({
    first,
    read: (after, most) => readPatiently(c, used, pageOf(filter, after, most)),
    statements: () => used.reduce((sum, { attempts }) => sum + attempts, 0),
    head: format.head,
    line: (row) => format.line(exported(row)),
    limit,
    bounds: STREAM_BOUNDS,
    isWanted: () => slots.isWanted(),
    onAlive: slot.renew,
    onEnd: (end) => {
      slot.release()
      logEnd(c, end, { ms: Date.now() - startedAt, databaseMs: used.reduce((sum, { ms }) => sum + ms, 0) })
    },
  })
  return c.body(lines)
}

const pageOf = (filter: SignalFilter, after: Cursor | undefined, limit: number) => ({
  ...filter,
  after,
  limit,
  maxBytes: STREAM_PAGE.bytes,
})

const exported = (row: SelectedRow): ExportedRow => ({
  ...row,
  id: Number(row.id),
  payload_omitted: row.payload_omitted || undefined,
})

/** The longest wait of a stream for a place among the reads. Other requests get places first. */
const PATIENCE_MS = 30_000
const WAIT_MS = 250

/**
 * Each page has its own deadline. A stream queues for every statement like a new request, so it overtakes no
 * other request.
 */
async function readPatiently(
  c: Context<App>,
  used: Database["usage"][],
  page: ReturnType<typeof pageOf>,
): Promise<SignalRows> {
  const givesUpAt = Date.now() + PATIENCE_MS
  for (;;) {
    const db = connect(c.get("settings").database, { traffic: "reads", keepAlive: waitUntil })
    try {
      return await listRows(db, page)
    } catch (error) {
      const mayWait = error instanceof DatabaseError && error.kind === "overloaded" && Date.now() < givesUpAt
      if (!mayWait) throw error
    } finally {
      used.push(db.usage)
    }
    await new Promise((resolve) => setTimeout(resolve, WAIT_MS))
  }
}

/** Logs the end of a stream. The request's own line was written when the answer began. */
function logEnd(
  c: Context<App>,
  { error, ...end }: StreamEnd,
  { ms, databaseMs }: { ms: number; databaseMs: number },
): void {
  const reason = error && errorForLog(error)
  console.log(
    JSON.stringify({
      event: "stream_end",
      request_id: c.get("requestId"),
      ...end,
      ms,
      database_ms: databaseMs,
      error: reason,
    }),
  )
}

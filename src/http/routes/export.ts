import { waitUntil } from "cloudflare:workers"
import { zValidator } from "@hono/zod-validator"
import { type Context, Hono } from "hono"
import { errorForLog } from "../../errors.ts"
import { type ReaderSlot, ReaderSlots } from "../../isolate/reader-slots.ts"
import { CSV_HEADER, csvLine, type ExportedRow, ndjsonLine } from "../../signals/lines.ts"
import { connect, type Database } from "../../store/database/connection.ts"
import { DatabaseError } from "../../store/database/errors.ts"
import { listRows, type SignalRows } from "../../store/signals/read.ts"
import type { Cursor, SignalFilter } from "../../store/signals/search.ts"
import type { SelectedRow } from "../../store/signals/stored-signal.ts"
import { requireScope } from "../request/auth.ts"
import {
  MAX_STREAMS,
  STREAM_BOUNDS,
  STREAM_PAGE,
  type StreamBounds,
  StreamCutOff,
} from "../request/bounds.ts"
import { type App, noteOutcome, ownerOf } from "../request/context.ts"
import { ExportQuery, refuseShape } from "../request/params.ts"
import { withPayload } from "../request/payload-params.ts"
import { tooManyStreams } from "../request/problems.ts"

interface Format {
  contentType: string
  /** The text before the lines. */
  head: string
  line: (row: ExportedRow) => string
}

const FORMATS: Record<ExportQuery["format"], Format> = {
  ndjson: { contentType: "application/x-ndjson", head: "", line: ndjsonLine },
  csv: { contentType: "text/csv; charset=utf-8; header=present", head: CSV_HEADER, line: csvLine },
}

/** A stream renews its slot every second. */
const GONE_AFTER_MS = 10_000

const slots = new ReaderSlots({ most: MAX_STREAMS, goneAfterMs: GONE_AFTER_MS })

/** GET /api/signals/export: every signal of a filter, newest first, as one stream of lines. */
export const exportedSignals = new Hono<App>().get(
  "/",
  requireScope("read"),
  zValidator("query", withPayload(ExportQuery), refuseShape),
  async (c) => {
    const slot = slots.take(ownerOf(c))
    if (!slot) throw tooManyStreams()
    return await beginStream(c, c.req.valid("query"), slot).catch((error) => {
      slot.release()
      throw error
    })
  },
)

async function beginStream(c: Context<App>, query: ExportQuery, slot: ReaderSlot): Promise<Response> {
  const { format: name, limit, cursor, ...filter } = query
  const format = FORMATS[name]
  const startedAt = Date.now()
  const used: Database["usage"][] = [c.get("db").usage]
  // An error of the first page is still an ordinary answer.
  const first = await listRows(c.get("db"), pageOf(filter, cursor, pageLimit(limit, STREAM_BOUNDS, 0)))
  noteOutcome(c, { stream: name })
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

/** The longest wait of a stream for a slot among the reads. Other requests get slots first. */
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
    const db = connect(c.get("settings").database, {
      traffic: "reads",
      keepAlive: waitUntil,
      owner: () => ownerOf(c),
    })
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

type Row = SignalRows["rows"][number]

/**
 * The outcome of a stream. `cut_off`: a bound or an error ended it early, and its reader sees a failed
 * transfer.
 */
export interface StreamEnd {
  outcome: "complete" | "cut_off" | "cancelled"
  signals: number
  bytes: number
  /** The error that cut it off. */
  error?: Error
}

export interface StreamOptions {
  /** The first page, read before the answer began. */
  first: SignalRows
  /** Reads the page after a cursor. */
  read: (after: Cursor, limit: number) => Promise<SignalRows>
  /** Statements sent so far. */
  statements: () => number
  /** The text before the lines. */
  head: string
  line: (row: Row) => string
  /** The number of signals after which the stream ends; undefined: after the last signal. */
  limit: number | undefined
  bounds: StreamBounds
  /** Whether another reader was refused just now, for lack of a slot. */
  isWanted: () => boolean
  /** Called every second, until the stream ends or the runtime ends the request. */
  onAlive: () => void
  onEnd: (end: StreamEnd) => void
}

/** The bytes of one chunk, which has at least one line. */
const CHUNK_BYTES = 64 * 1024
const LOOK_EVERY_MS = 1000
/** How long a reader may take nothing while others want its slot. */
const IDLE_WHEN_WANTED_MS = 10_000

/** The number of signals that the next statement reads, when `sent` signals have been sent. */
const pageLimit = (limit: number | undefined, bounds: StreamBounds, sent: number): number =>
  Math.min(STREAM_PAGE.signals, (limit ?? bounds.signals) - sent)

/** The bound that the next page would exceed. */
function reachedBound(bounds: StreamBounds, signals: number, statements: number): StreamCutOff | undefined {
  if (signals >= bounds.signals) return new StreamCutOff(`more than ${bounds.signals} signals`)
  if (statements >= bounds.statements) return new StreamCutOff(`more than ${bounds.statements} statements`)
  return undefined
}

/**
 * Streams the lines of a list. It reads the next page when the reader has read the last one, so that a slow
 * reader keeps only one page in memory, and no slot for statements.
 *
 * An early end is an error of the stream: the HTTP body then has no end, which every client reports.
 */
export function streamLines(options: StreamOptions): ReadableStream<Uint8Array> {
  const { read, statements, line, limit, bounds, onAlive, onEnd } = options
  const idleMs = () => (options.isWanted() ? Math.min(IDLE_WHEN_WANTED_MS, bounds.idleMs) : bounds.idleMs)
  const encoder = new TextEncoder()
  const startedAt = Date.now()
  let { rows, next } = options.first
  let index = 0
  let pending = options.head
  let takenAt = startedAt
  let timer: ReturnType<typeof setInterval> | undefined
  let ended = false
  const counts = { signals: 0, bytes: 0 }

  function end(how: Omit<StreamEnd, "signals" | "bytes">): void {
    ended = true
    clearInterval(timer)
    rows = []
    onEnd({ ...how, ...counts })
  }

  function cutOff(controller: ReadableStreamDefaultController<Uint8Array>, error: Error): void {
    if (ended) return
    end({ outcome: "cut_off", error })
    controller.error(error)
  }

  function look(controller: ReadableStreamDefaultController<Uint8Array>): void {
    const now = Date.now()
    if (now - startedAt > bounds.totalMs)
      cutOff(controller, new StreamCutOff(`longer than ${bounds.totalMs / 1000} seconds`))
    else if (now - takenAt > idleMs())
      cutOff(controller, new StreamCutOff(`the reader took nothing for ${idleMs() / 1000} seconds`))
    else onAlive()
  }

  /** Takes lines of the page until they fill a chunk. */
  function takeChunk(): string {
    let chunk = pending
    pending = ""
    for (let row = rows[index]; row && chunk.length < CHUNK_BYTES; row = rows[++index]) {
      chunk += line(row)
      counts.signals++
    }
    return chunk
  }

  return new ReadableStream<Uint8Array>(
    {
      start(controller) {
        timer = setInterval(() => look(controller), LOOK_EVERY_MS)
      },
      async pull(controller) {
        try {
          takenAt = Date.now()
          let chunk = takeChunk()
          // A page can be empty when filters leave few signals.
          while (chunk === "" && next && (limit === undefined || counts.signals < limit)) {
            const bound = reachedBound(bounds, counts.signals, statements())
            if (bound) return cutOff(controller, bound)
            const page = await read(next, pageLimit(limit, bounds, counts.signals))
            if (ended) return
            takenAt = Date.now()
            rows = page.rows
            next = page.next
            index = 0
            chunk = takeChunk()
          }
          if (chunk === "") {
            end({ outcome: "complete" })
            return controller.close()
          }
          const bytes = encoder.encode(chunk)
          counts.bytes += bytes.length
          controller.enqueue(bytes)
        } catch (error) {
          cutOff(controller, error as Error)
        }
      },
      cancel() {
        if (!ended) end({ outcome: "cancelled" })
      },
    },
    { highWaterMark: 0 },
  )
}

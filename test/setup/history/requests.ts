import { brotliDecompressSync, gunzipSync, inflateSync, zstdDecompressSync } from "node:zlib"
import type { Answer, Invoke, Operation, Result, SentSignal, Subject } from "./lines.ts"
import { hashOf, signalHash } from "./record.ts"

interface WireSignal {
  context_window_id?: unknown
  raw_content?: unknown
  user_id?: unknown
  dedupe_key?: unknown
  signal_score?: unknown
}

/** What a history notes of a request, apart from who sent it; undefined for one that no rule speaks of. */
export type Noted = Omit<Invoke, "type" | "n" | "at" | "client">

export interface Request {
  method: string
  /** With its query. */
  path: string
  /** By names in lower case. */
  headers: Record<string, string>
  body?: string | Uint8Array | undefined
  /** Its body may be anything: the history does not say which signals it has. */
  isHostile?: boolean
}

const POSTED: Record<string, Operation> = {
  "/api/signals/batch": "batch",
  "/api/signals": "single",
  "/webhooks/kafka": "kafka",
  "/webhooks/slack": "slack",
  "/api/scores": "scores",
  "/api/erasures": "erasure",
}

const READ: [RegExp, Operation][] = [
  [/^\/api\/signals\/(\d+)$/, "read"],
  [/^\/api\/batches\/([\w-]+)$/, "ledger"],
  [/^\/api\/erasures\/([\w-]+)$/, "erasure state"],
  [/^\/api\/signals\/feed$/, "feed"],
  [/^\/api\/signals\/stats$/, "stats"],
  [/^\/api\/signals$/, "list"],
]

/** Reads from a request of the API what the rules need. */
export function noteRequest({ method, path, headers, body = "", isHostile }: Request): Noted | undefined {
  const url = URL.parse(path, "http://service")
  if (!url) return undefined
  const { pathname, searchParams } = url
  if (method === "GET") return noteRead(pathname, searchParams)
  const operation = /^\/api\/dead-letters\/.*replay$/.test(pathname) ? "replay" : POSTED[pathname]
  if (operation === undefined) return undefined
  if (isHostile) return { operation }
  const key = headers["idempotency-key"]
  const noted = { operation, hash: hashOf(body), ...(key !== undefined && { key }) }
  const sent = parsedBody(decoded(body, headers["content-encoding"]), headers["content-type"])
  if (operation === "erasure") return { ...noted, subject: subjectOf(sent as Record<string, unknown>) }
  if (operation === "slack" || operation === "replay" || operation === "scores") return noted
  const isWhole = (sent as { fail_on_error?: unknown } | undefined)?.fail_on_error === true
  return { ...noted, signals: sentSignals(operation, sent), ...(isWhole && { allOrNothing: true as const }) }
}

function noteRead(pathname: string, query: URLSearchParams): Noted | undefined {
  for (const [pattern, operation] of READ) {
    const matched = pattern.exec(pathname)
    if (!matched) continue
    if (operation !== "list") return { operation, of: matched[1] ?? query.get("after") ?? "" }
    const filters = [...query.keys()].filter((name) => name !== "limit")
    const conversation = query.get("context_window_id")
    return filters.length === 1 && conversation !== null ? { operation, of: conversation } : undefined
  }
  return undefined
}

const DECODE: Record<string, (bytes: Uint8Array) => Buffer> = {
  gzip: gunzipSync,
  br: brotliDecompressSync,
  deflate: inflateSync,
  zstd: zstdDecompressSync,
}

const decoded = (body: string | Uint8Array, coding = "") =>
  typeof body === "string" ? body : (DECODE[coding]?.(body) ?? Buffer.from(body)).toString()

/** Lines of JSON are a batch. */
function parsedBody(text: string, type = ""): unknown {
  if (!/ndjson|jsonl/.test(type)) return parsed(text)
  return { signals: text.split("\n").filter(Boolean).map(parsed) }
}

const parsed = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function sentSignals(operation: Operation, sent: unknown): SentSignal[] {
  if (operation === "single") return [sentSignal(sent as WireSignal)]
  if (operation === "batch") return ((sent as { signals?: WireSignal[] })?.signals ?? []).map(sentSignal)
  const records = Array.isArray(sent) ? sent : ((sent as { records?: unknown[] })?.records ?? [])
  return (records as { key?: string; value: WireSignal & { text?: string } }[]).map(({ key, value }) =>
    sentSignal({
      ...value,
      context_window_id: value.context_window_id ?? key,
      raw_content: value.raw_content ?? value.text,
    }),
  )
}

function sentSignal(signal: WireSignal): SentSignal {
  const { signal_score: score = 0.5, user_id: user, dedupe_key: dedupeKey } = signal
  const isWithin = typeof score === "number" && score >= 0 && score <= 1
  // The text by which the databases of some tests refuse a row.
  const isRefused = String(signal.raw_content).startsWith("refused by the database")
  return {
    hash: signalHash(signal),
    conversation: String(signal.context_window_id),
    ...(typeof user === "string" && { user }),
    ...(typeof dedupeKey === "string" && { dedupeKey }),
    ...((!isWithin || isRefused) && { mayFail: true as const }),
  }
}

function subjectOf(sent: Record<string, unknown>): Subject {
  const suppress = sent.suppress === true && { suppress: true as const }
  if (Array.isArray(sent.signal_ids)) return { kind: "signal_ids", ids: sent.signal_ids as number[] }
  const kind = (["user_id", "context_window_id", "agent_id"] as const).find((name) => name in sent)
  return { kind: kind ?? "user_id", value: String(sent[kind ?? "user_id"]), ...suppress }
}

type Noticed = Omit<Answer, "type" | "n" | "at">

interface AnswerBody {
  transaction_id?: string | null
  results?: { success: boolean; signal_id: number | null; duplicate?: true }[]
  total_count?: number
  successful_count?: number
  failed_count?: number
  id?: number | string
  duplicate?: true
  state?: string
  signals?: (WireSignal & { id: number; change?: string })[]
  next_cursor?: string | null
  more?: boolean
  lag_seconds?: number
  stats?: { context_window_id: string; signal_count: number }[]
}

/** Reads from an answer what the rules need. `text` is undefined when it did not come to its end. */
export function noteAnswer(operation: Operation, status: number, text: string | undefined): Noticed {
  const body = text === undefined ? undefined : (parsed(text) as AnswerBody | undefined)
  if (body === undefined || body === null) return { status: 0 }
  const transaction = body.transaction_id
  const named = typeof transaction === "string" && { transaction }
  if (status >= 300) return { status, ...named }
  if (operation === "read") return { status, seen: [seenOf(body as WireSignal & { id: number })] }
  if (operation === "stats")
    return {
      status,
      stats: body.stats?.map((one) => [one.context_window_id, one.signal_count] as const) ?? [],
    }
  if (operation === "list" || operation === "feed") {
    const isEnd = operation === "list" ? body.next_cursor === null : !body.more && body.lag_seconds === 0
    return { status, seen: body.signals?.map(seenOf) ?? [], ...(isEnd && { isEnd: true as const }) }
  }
  if (operation === "erasure" || operation === "erasure state")
    return { status, transaction: String(body.id), ...(body.state !== undefined && { state: body.state }) }
  if (operation === "single") {
    const id = Number(body.id)
    // The row of a duplicate has the transaction that stored it.
    if (body.duplicate) return { status, results: [["duplicate", id]] }
    return { status, ...named, results: [["stored", id]] }
  }
  const counts = body.successful_count !== undefined && {
    counts: [body.successful_count, body.failed_count ?? 0] as const,
  }
  const isFull = operation === "batch" && body.results?.length === body.total_count
  return {
    status,
    ...named,
    ...(body.state !== undefined && { state: body.state }),
    ...counts,
    ...(isFull && body.results && { results: body.results.map(resultOf) }),
  }
}

const resultOf = (result: { success: boolean; signal_id: number | null; duplicate?: true }): Result =>
  result.success ? [result.duplicate ? "duplicate" : "stored", result.signal_id ?? 0] : ["failed"]

const seenOf = (signal: WireSignal & { id: number; change?: string }) => ({
  id: signal.id,
  hash: signalHash(signal),
  ...(signal.change !== undefined && { change: signal.change }),
})

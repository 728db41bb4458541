import type {
  BatchRecord,
  BulkReplayAnswer,
  ConversationStats,
  ListedDeadLetter,
  ReplayAnswer,
  StoredSignal,
} from "../../../signals/responses.ts"
import { storedKey } from "./key.ts"

export interface SignalPage {
  signals: StoredSignal[]
  next_cursor: string | null
}
export interface BatchPage {
  batches: BatchRecord[]
  next_cursor: string | null
}
export interface Conversations {
  stats: ConversationStats[]
}
export interface DeadLetterPage {
  dead_letters: ListedDeadLetter[]
  next_cursor: string | null
}
export type { BulkReplayAnswer, ReplayAnswer }

/** No key was sent, or `key` was refused. */
export class KeyNeeded extends Error {
  readonly key: string | null
  constructor(key: string | null, detail: string) {
    super(detail)
    this.key = key
  }
}

/** No answer, or any other error. */
export class NotAnswered extends Error {
  readonly retryAfterSeconds: number
  /** The code of the answer; undefined when there was none. */
  readonly code: string | undefined
  constructor(
    detail: string,
    { retryAfterSeconds = 0, code }: { retryAfterSeconds?: number; code?: string | undefined } = {},
  ) {
    super(detail)
    this.retryAfterSeconds = retryAfterSeconds
    this.code = code
  }
}

/**
 * What a person can do about an error of the service, by its code; the answer's own sentence is for programs.
 */
const FOR_PEOPLE: Record<string, string> = {
  database_unavailable: "The service cannot reach its database. Try again in a few seconds.",
  overloaded: "The service has too much to do. Try again in a few seconds.",
  rate_limited: "There were too many requests. Wait ten seconds, then try again.",
  not_configured: "A setting of the service is missing or wrong. Its log names it.",
  read_too_costly: "This search takes the database too long. Choose a shorter time or more filters.",
  result_too_large: "This result is too large. Choose a shorter time or more filters.",
  internal_error: "The service failed. Try again; if it fails again, look at its log.",
  metrics_unavailable: "The metrics cannot be read right now. Signals are stored all the same.",
}

/** A failed read as a sentence for people. */
export function failureSentence(error: unknown): string {
  const known = error instanceof NotAnswered ? FOR_PEOPLE[error.code ?? ""] : undefined
  if (known !== undefined) return known
  const reason = error instanceof Error ? error.message : String(error)
  return `${reason.charAt(0).toUpperCase()}${reason.slice(1).replace(/\.?$/, ".")}`
}

const TIMEOUT_MS = 20_000

/**
 * The text of the JSON at `path` of this origin.
 *
 * @throws {KeyNeeded} 401 and 403
 * @throws {NotAnswered}
 */
export async function askText(
  path: string,
  cancelled: AbortSignal,
  { method = "GET", body: sent }: { method?: string; body?: object | undefined } = {},
): Promise<string> {
  const key = storedKey()
  const headers: Record<string, string> = {
    ...(key !== null && { Authorization: `Bearer ${key}` }),
    ...(sent && { "Content-Type": "application/json" }),
  }
  const body = sent ? JSON.stringify(sent) : null
  const signal = AbortSignal.any([cancelled, AbortSignal.timeout(TIMEOUT_MS)])
  const response = await fetch(path, { method, headers, body, signal }).catch((error: Error) => {
    throw new NotAnswered(
      error.name === "TimeoutError"
        ? "The service did not answer in time. Try again."
        : "The service cannot be reached. Check that it runs and that you are online.",
    )
  })
  const text = await response.text().catch(() => "")
  const answer = parsed(text)
  if (response.ok && answer !== undefined) return text
  const detail = detailOf(answer) ?? `status ${response.status}`
  if (response.status === 401 || response.status === 403) throw new KeyNeeded(key, detail)
  const retryAfterSeconds = Number(response.headers.get("Retry-After")) || 0
  throw new NotAnswered(detail, { retryAfterSeconds, code: codeOf(answer) })
}

/** The JSON at `path`; see `askText`. */
export async function get<Answer>(path: string, cancelled: AbortSignal): Promise<Answer> {
  return JSON.parse(await askText(path, cancelled)) as Answer
}

/** Sends a request that changes something; see `askText`. */
export async function send<Answer>(
  method: "POST" | "PATCH" | "DELETE",
  path: string,
  cancelled: AbortSignal,
  body?: object,
): Promise<Answer> {
  return JSON.parse(await askText(path, cancelled, { method, body })) as Answer
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function codeOf(answer: unknown): string | undefined {
  if (typeof answer !== "object" || answer === null || !("code" in answer)) return undefined
  return typeof answer.code === "string" ? answer.code : undefined
}

/** Every error of the service has a `detail`; that of a 422 is a list. */
function detailOf(answer: unknown): string | undefined {
  if (typeof answer !== "object" || answer === null || !("detail" in answer)) return undefined
  const { detail } = answer
  if (typeof detail === "string") return detail
  if (!Array.isArray(detail)) return undefined
  return detail
    .map(
      ({ loc, msg }: { loc?: unknown[]; msg?: string }) => `${loc?.slice(1).join(".") ?? ""}: ${msg ?? ""}`,
    )
    .join("; ")
}

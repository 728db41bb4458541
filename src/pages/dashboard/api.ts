import type { BatchRecord, ConversationStats, StoredSignal } from "../../signals/responses.ts"
import { storedKey } from "./key.ts"

export interface SignalPage {
  signals: StoredSignal[]
}
export interface BatchPage {
  batches: BatchRecord[]
}
export interface Conversations {
  stats: ConversationStats[]
}

/** The service refused the request for want of a key, or because of `key`. */
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
  constructor(detail: string, retryAfterSeconds = 0) {
    super(detail)
    this.retryAfterSeconds = retryAfterSeconds
  }
}

const TIMEOUT_MS = 20_000

/**
 * The JSON at `path` of this origin.
 *
 * @throws {KeyNeeded} 401 and 403
 * @throws {NotAnswered}
 */
export async function get<Answer>(path: string, cancelled: AbortSignal): Promise<Answer> {
  const key = storedKey()
  const headers: Record<string, string> = key === null ? {} : { Authorization: `Bearer ${key}` }
  const response = await fetch(path, { headers, signal: AbortSignal.any([cancelled, AbortSignal.timeout(TIMEOUT_MS)]) }).catch(
    (error: Error) => {
      throw new NotAnswered(error.name === "TimeoutError" ? "no answer in time" : "the service cannot be reached")
    },
  )
  const answer: unknown = await response.json().catch(() => undefined)
  if (response.ok && answer !== undefined) return answer as Answer
  const detail = detailOf(answer) ?? `status ${response.status}`
  if (response.status === 401 || response.status === 403) throw new KeyNeeded(key, detail)
  throw new NotAnswered(detail, Number(response.headers.get("Retry-After")) || 0)
}

/** Every error of the service has a `detail`; that of a 422 is a list. */
function detailOf(answer: unknown): string | undefined {
  if (typeof answer !== "object" || answer === null || !("detail" in answer)) return undefined
  return typeof answer.detail === "string" ? answer.detail : JSON.stringify(answer.detail)
}

import type { DeliveryAttempt, SubscriptionState } from "./schema.ts"

/**
 * The life of a subscription, and what one answer does to it:
 *
 *     active --2xx--> active: the position moves, and the next call may begin at once
 *     active --anything else--> active: the same range again after a wait
 *     active --410, or three days of failures--> disabled: until somebody resumes it
 *     active <--by hand--> paused, disabled --by hand--> active
 *
 * The position moves only with a 2xx. Everything is decided here; `deliver/` does it.
 */

/** The wait after the first failure. It doubles with each, up to the longest. */
const FIRST_WAIT_MS = 5000
const LONGEST_WAIT_MS = 60 * 60 * 1000

/** Up to so much more of a wait, so that many receivers behind one machine are not called at once. */
const JITTER = 0.25

/** A receiver that fails for so long is not called any more. */
export const GIVE_UP_MS = 3 * 24 * 60 * 60 * 1000

/** What a receiver answered. */
export interface Answer {
  /** Null without an answer. */
  status: number | null
  /** Undefined when it accepted the call. */
  error: string | undefined
  /** The answer's `Retry-After`, in milliseconds. */
  retryAfterMs: number | undefined
  ms: number
  /** No later attempt can succeed. */
  isFinal?: boolean
}

export interface Failing {
  /** Failures before this one, since the last accepted call. */
  failedAttempts: number
  /** The time of the first of them, in milliseconds since the epoch; null when this is the first. */
  failingSinceMs: number | null
}

export type AfterFailure =
  | { state: Extract<SubscriptionState, "active">; waitMs: number }
  | { state: Extract<SubscriptionState, "disabled"> }

/** What follows a call that was not accepted. */
export function afterFailure(
  { failedAttempts, failingSinceMs }: Failing,
  answer: Pick<Answer, "status" | "retryAfterMs" | "isFinal">,
  { nowMs, random }: { nowMs: number; random: number },
): AfterFailure {
  const isFinal = answer.isFinal || answer.status === 410
  if (isFinal || nowMs - (failingSinceMs ?? nowMs) >= GIVE_UP_MS) return { state: "disabled" }
  const longest = LONGEST_WAIT_MS / (1 + JITTER)
  const waitMs = Math.min(FIRST_WAIT_MS * 2 ** failedAttempts, longest) * (1 + JITTER * random)
  const asked = Math.min(answer.retryAfterMs ?? 0, LONGEST_WAIT_MS)
  return { state: "active", waitMs: Math.round(Math.max(waitMs, asked)) }
}

/** Why a status is not an acceptance; undefined for a 2xx. */
export function statusError(status: number): string | undefined {
  if (status >= 200 && status < 300) return undefined
  if (status >= 300 && status < 400) return `HTTP ${status}: a redirect, which is not followed`
  return `HTTP ${status}`
}

/** Milliseconds of a `Retry-After` in seconds; undefined for its other form, and when there is none. */
export function retryAfterMs(header: string | null): number | undefined {
  return header !== null && /^\d{1,6}$/.test(header) ? Number(header) * 1000 : undefined
}

/** The entry of an answer in the list of a subscription. */
export const attemptOf = (
  call: { id: string; signals: number },
  answer: Answer,
  at: string,
): DeliveryAttempt => ({
  at,
  webhook_id: call.id,
  signals: call.signals,
  status: answer.status,
  error: answer.error ?? null,
  ms: answer.ms,
})

import type { Violation } from "./failures.ts"
import { MAX_NAME_CHARACTERS, type Signal, TEXT_FIELDS } from "./schema.ts"
import { WEBHOOKS } from "./sources.ts"
import { instantText } from "./timestamp.ts"

/** The largest signal, in UTF-8 bytes of its texts and its payload. */
export const MAX_SIGNAL_BYTES = 1024 * 1024

/** The deepest nesting of a payload. The payload itself is the first level. */
export const MAX_PAYLOAD_DEPTH = 64

/** The longest `user_id` and `agent_id`, and the longest subject of an erasure. */
export const MAX_ID_CHARACTERS = 1024

type NameField = "context_window_id" | "signal_source" | "dedupe_key"
type Rule = (signal: Signal) => Violation | undefined

const between0And1 =
  (field: "signal_score" | "emotional_tone"): Rule =>
  ({ [field]: value }) =>
    value == null || (value >= 0 && value <= 1)
      ? undefined
      : { field, code: "out_of_range", message: `${field} must be between 0 and 1` }

const nameLength =
  (field: NameField): Rule =>
  ({ [field]: value }) =>
    value == null || (value !== "" && !isLongerThan(value, MAX_NAME_CHARACTERS))
      ? undefined
      : {
          field,
          code: "wrong_length",
          message: `${field} must be 1 to ${MAX_NAME_CHARACTERS} characters long`,
        }

const idLength =
  (field: "user_id" | "agent_id"): Rule =>
  ({ [field]: value }) =>
    value == null || !isLongerThan(value, MAX_ID_CHARACTERS)
      ? undefined
      : {
          field,
          code: "wrong_length",
          message: `${field} must be at most ${MAX_ID_CHARACTERS} characters long`,
        }

/** The days for which an Idempotency-Key is valid. */
export const KEY_LIFETIME_DAYS = 7

/** The default limit of a timestamp ahead of the service's clock. */
export const MAX_FUTURE_SECONDS = 86_400

/** The latest timestamp that a signal may have. */
export interface TimeLimit {
  /** UTC text. */
  latest: string
  maxFutureSeconds: number
}

/** @param now the service's time when it accepts the signals */
export const timeLimitAt = (now: Date, maxFutureSeconds: number): TimeLimit => ({
  latest: instantText(new Date(now.getTime() + maxFutureSeconds * 1000)),
  maxFutureSeconds,
})

/** @param time UTC text of the years 0001-9999, so that texts compare as times do */
export function futureViolation(
  time: string,
  { latest, maxFutureSeconds }: TimeLimit,
): Violation | undefined {
  if (time <= latest) return undefined
  const message = `timestamp must be at most ${maxFutureSeconds} seconds ahead of the service's clock`
  return { field: "timestamp", code: "too_far_ahead", message }
}

/** The prefixes of the dedupe keys that the bridges give messages. */
const RESERVED_PREFIXES: readonly string[] = Object.values(WEBHOOKS).flatMap(({ keyPrefixes }) => keyPrefixes)

/**
 * The violation of a sender that must not choose a key with a reserved prefix. The bridge's own message would
 * become a duplicate of the sender's signal.
 *
 * @param rule who may choose such a key, as the end of the message
 */
export function reservedKeyViolation(
  dedupeKey: unknown,
  rule = "unless the key has the scope bridge",
): Violation | undefined {
  const prefix = RESERVED_PREFIXES.find((one) => typeof dedupeKey === "string" && dedupeKey.startsWith(one))
  if (prefix === undefined) return undefined
  const message = `dedupe_key must not begin with ${prefix} ${rule}`
  return { field: "dedupe_key", code: "reserved_dedupe_key", message }
}

const RULES: readonly Rule[] = [
  nameLength("context_window_id"),
  ({ context_window_id }) =>
    context_window_id.trim() === ""
      ? { field: "context_window_id", code: "blank", message: "context_window_id must not be blank" }
      : undefined,
  nameLength("signal_source"),
  between0And1("signal_score"),
  between0And1("emotional_tone"),
  ({ escalate_flag }) =>
    escalate_flag == null || escalate_flag === 0 || escalate_flag === 1
      ? undefined
      : { field: "escalate_flag", code: "out_of_range", message: "escalate_flag must be 0 or 1" },
  nameLength("dedupe_key"),
  idLength("user_id"),
  idLength("agent_id"),
]

/**
 * Returns the first rule that the values of `signal` break; undefined when they can be stored. `payload` is
 * the signal's payload as JSON text, "" when there is none, and `printedCharacters` its length as Postgres
 * prints it (see `encodePayload`).
 */
export function brokenRule(
  signal: Signal,
  payload: string,
  printedCharacters = payload.length,
): Violation | undefined {
  for (const rule of RULES) {
    const violation = rule(signal)
    if (violation) return violation
  }
  const unfolded = printedCharacters - payload.length
  let characters = printedCharacters
  for (const field of TEXT_FIELDS) {
    const value = signal[field]
    if (value == null) continue
    const violation = textViolation(value)
    if (violation) return { field, code: "invalid_text", message: `${field} ${violation}` }
    characters += value.length
  }
  return isHeavierThan(MAX_SIGNAL_BYTES - unfolded, characters, signal, payload)
    ? { code: "too_large", message: "signal must not be larger than 1 MiB" }
    : undefined
}

/**
 * Returns why Postgres cannot store `text`: its text cannot have U+0000, and UTF-8 cannot have a lone
 * surrogate.
 */
export function textViolation(text: string): string | undefined {
  if (text.includes("\0")) return "must not contain U+0000"
  if (!text.isWellFormed()) return "must not contain a lone surrogate"
}

/** Whether `text` has more than `limit` characters. A character is a code point, as in Postgres. */
export function isLongerThan(text: string, limit: number): boolean {
  return text.length > limit && (text.length > 2 * limit || [...text].length > limit)
}

function isHeavierThan(limitBytes: number, characters: number, signal: Signal, payload: string): boolean {
  // A UTF-16 unit has at most three bytes in UTF-8, so only a large signal has to be measured.
  if (characters * 3 <= limitBytes) return false
  if (limitBytes <= 0) return true
  const encoder = new TextEncoder()
  let bytes = encoder.encode(payload).length
  for (const field of TEXT_FIELDS) bytes += encoder.encode(signal[field] ?? "").length
  return bytes > limitBytes
}

/**
 * The scopes of a key. `ingest`: send signals, and read its own batches. `read`: read everything. `bridge`:
 * send dedupe keys of the bridges. `admin`: erase.
 */
export const SCOPES = ["ingest", "read", "bridge", "admin"] as const
export type Scope = (typeof SCOPES)[number]

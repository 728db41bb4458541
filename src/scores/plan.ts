import { failureAt, Rejected, type Violation } from "../signals/failures.ts"
import type { Failure } from "../signals/responses.ts"
import { futureViolation, isLongerThan, type TimeLimit, textViolation } from "../signals/rules.ts"
import { MAX_NAME_CHARACTERS } from "../signals/schema.ts"
import type { Score } from "./score.ts"

/** A score ready to be stored. It names its signal by exactly one of the first two fields. */
export interface ScoreRow {
  index: number
  signalId: number | null
  dedupeKey: string | null
  /** UTC text. */
  scoredAt: string
  scorer: string | null
  /** Null: the signal's value stays. */
  signalScore: number | null
  emotionalTone: number | null
  escalateFlag: number | null
}

/** The plan of a batch of scores: each is either in `rows` or in `failures`, both in batch order. */
export interface ScorePlan {
  total: number
  rows: ScoreRow[]
  failures: Failure[]
}

/**
 * Checks the values of each score of a batch. Pure.
 *
 * @param scores `Rejected` is a score of the wrong shape, which fails alone
 * @param now the time of every score without `scored_at`, as UTC text
 */
export function planScores(
  scores: readonly (Score | Rejected)[],
  now: string,
  timeLimit: TimeLimit | undefined,
): ScorePlan {
  const plan: ScorePlan = { total: scores.length, rows: [], failures: [] }
  for (const [index, score] of scores.entries()) {
    const planned = score instanceof Rejected ? score.violation : planScore(score, { index, now, timeLimit })
    if ("code" in planned) plan.failures.push(failureAt(index, planned))
    else plan.rows.push(planned)
  }
  return plan
}

function planScore(
  score: Score,
  { index, now, timeLimit }: { index: number; now: string; timeLimit: TimeLimit | undefined },
): ScoreRow | Violation {
  const violation = namesViolation(score) ?? valuesViolation(score)
  if (violation) return violation
  const scoredAt = score.scored_at ?? now
  if (typeof scoredAt !== "string")
    return {
      field: "scored_at",
      code: "out_of_range",
      message: scoredAt.message.replace("timestamp", "scored_at"),
    }
  const ahead = timeLimit && score.scored_at != null ? futureViolation(scoredAt, timeLimit) : undefined
  if (ahead) return { ...ahead, field: "scored_at", message: ahead.message.replace("timestamp", "scored_at") }
  return {
    index,
    signalId: score.signal_id ?? null,
    dedupeKey: score.dedupe_key ?? null,
    scoredAt,
    scorer: score.scorer ?? null,
    signalScore: score.signal_score ?? null,
    emotionalTone: score.emotional_tone ?? null,
    escalateFlag: score.escalate_flag ?? null,
  }
}

/** The rule that a score breaks by the signal that it names, or by its scorer. */
function namesViolation({ signal_id, dedupe_key, scorer }: Score): Violation | undefined {
  if (signal_id == null && dedupe_key == null)
    return {
      field: "signal_id",
      code: "missing_field",
      message: "a score names its signal by signal_id or dedupe_key",
    }
  if (signal_id != null && dedupe_key != null)
    return {
      field: "dedupe_key",
      code: "two_signals",
      message: "a score names its signal by signal_id or dedupe_key, not by both",
    }
  if (signal_id != null && !(signal_id >= 1 && signal_id <= Number.MAX_SAFE_INTEGER))
    return {
      field: "signal_id",
      code: "out_of_range",
      message: `signal_id must be between 1 and ${Number.MAX_SAFE_INTEGER}`,
    }
  return nameViolation("dedupe_key", dedupe_key) ?? nameViolation("scorer", scorer)
}

function nameViolation(
  field: "dedupe_key" | "scorer",
  value: string | null | undefined,
): Violation | undefined {
  if (value == null) return undefined
  if (value === "" || isLongerThan(value, MAX_NAME_CHARACTERS))
    return {
      field,
      code: "wrong_length",
      message: `${field} must be 1 to ${MAX_NAME_CHARACTERS} characters long`,
    }
  const violation = textViolation(value)
  return violation ? { field, code: "invalid_text", message: `${field} ${violation}` } : undefined
}

function valuesViolation(score: Score): Violation | undefined {
  for (const field of ["signal_score", "emotional_tone"] as const) {
    const value = score[field]
    if (value != null && !(value >= 0 && value <= 1))
      return { field, code: "out_of_range", message: `${field} must be between 0 and 1` }
  }
  const { signal_score, emotional_tone, escalate_flag } = score
  if (escalate_flag != null && escalate_flag !== 0 && escalate_flag !== 1)
    return { field: "escalate_flag", code: "out_of_range", message: "escalate_flag must be 0 or 1" }
  if (signal_score == null && emotional_tone == null && escalate_flag == null)
    return {
      field: "signal_score",
      code: "missing_field",
      message: "a score has signal_score, emotional_tone or escalate_flag",
    }
}

import * as z from "zod"
import { plainNumber } from "../signals/json.ts"
import { BatchFields, EscalateFlag, MAX_NAME_CHARACTERS, share, Timestamp } from "../signals/schema.ts"
import { validationIssue } from "../signals/shape-errors.ts"

const SignalId = z
  .custom<number>((value) => typeof value === "number", validationIssue("int_type"))
  .refine((value) => Number.isInteger(value) || !Number.isFinite(value), validationIssue("int_from_float"))
  .meta({ description: "The id of the signal.", override: { type: "integer", format: "int64", minimum: 1 } })

const name = (description: string) =>
  z.string().meta({ description, minLength: 1, maxLength: MAX_NAME_CHARACTERS })

/** The shape of a score on the wire. Its values are checked later, score by score (see `planScores`). */
export const Score = z
  .looseObject({
    signal_id: SignalId.nullish(),
    dedupe_key: name("The dedupe_key of the signal, instead of its id.").nullish(),
    signal_score: share("Coherence. Absent: as it is.").nullish(),
    emotional_tone: share("Emotional intensity. Absent: as it is.").nullish(),
    escalate_flag: EscalateFlag.meta({
      description: "0 or 1. Absent: as it is.",
      override: { type: "integer", enum: [0, 1] },
    }).nullish(),
    scored_at: Timestamp.meta({
      description:
        "When the signal was scored, in a form of a signal's timestamp. The newest score counts, whatever the order of arrival. Default: now.",
      override: { type: "string", format: "date-time" },
    }).nullish(),
    scorer: name("Who scored it, such as the name and the version of a model.").nullish(),
  })
  .meta({ id: "Score" })
export type Score = z.infer<typeof Score>

/** The shape of a batch of scores. */
export const ScoresRequest = z
  .looseObject({ scores: z.array(Score), ...BatchFields })
  .meta({ id: "ScoresRequest" })

/** The names of a score's fields. */
export const SCORE_FIELDS: ReadonlySet<string> = new Set(Object.keys(Score.shape))
const BATCH_FIELDS: ReadonlySet<string> = new Set(["scores", "fail_on_error"])
const NUMBERS = ["signal_id", "signal_score", "emotional_tone", "escalate_flag", "scored_at"]

/** Turns raw JSON numbers into doubles, as in a signal. */
export function withPlainScores(scores: readonly unknown[]): void {
  for (const score of scores) {
    if (typeof score !== "object" || score === null) continue
    const fields = score as Record<string, unknown>
    for (const name of NUMBERS) if (typeof fields[name] === "object") fields[name] = plainNumber(fields[name])
  }
}

const MAX_IGNORED_FIELDS = 100

/** The names of unknown fields, which are not stored: each once, at most 100. */
export function ignoredScoreFields(request: {
  scores: readonly unknown[]
  [field: string]: unknown
}): string[] {
  const unknown = new Set<string>()
  for (const name in request) if (!BATCH_FIELDS.has(name)) unknown.add(name)
  for (const score of request.scores) {
    if (typeof score !== "object" || score === null || Array.isArray(score)) continue
    for (const name in score) if (!SCORE_FIELDS.has(name)) unknown.add(name)
    if (unknown.size > MAX_IGNORED_FIELDS) break
  }
  return [...unknown].slice(0, MAX_IGNORED_FIELDS)
}

import * as z from "zod"
import { Rejected, shapeViolation } from "../signals/failures.ts"
import { BatchFields } from "../signals/schema.ts"
import { MAX_ERRORS, moreErrors, type ShapeError, shapeErrors } from "../signals/shape-errors.ts"
import type { Validation } from "../signals/validate.ts"
import { Score, withPlainScores } from "./score.ts"

/** Compiled when the module loads; see `src/signals/validate.ts`. */
const ValidScore = z.compile(Score)
const Envelope = z.compile(z.looseObject({ ...BatchFields, scores: z.array(z.unknown()) }))

/** A batch of scores with a valid shape. */
export interface ValidScores {
  /** `Rejected` only where `lenient` was applied. */
  scores: (Score | Rejected)[]
  failOnError: boolean
  lenient: boolean
}

/**
 * Validates a batch of scores, as `validateBatch` does one of signals.
 *
 * @param value its scores can already be `Rejected`: lines of NDJSON that are not JSON
 * @returns it, or the first 100 validation errors and one entry that says that there are more
 */
export function validateScores(
  value: unknown,
  { failOnError, lenient: asked }: Validation,
): ValidScores | ShapeError[] {
  const envelope = Envelope.safeParse(value)
  if (!envelope.success) return shapeErrors(envelope.error.issues, value, ["body"])
  const allOrNothing = envelope.data.fail_on_error ?? failOnError
  const lenient = asked && !allOrNothing
  const scores: (Score | Rejected)[] = []
  const errors: ShapeError[] = []
  for (const [index, one] of envelope.data.scores.entries()) {
    const result = one instanceof Rejected ? undefined : ValidScore.safeParse(one)
    if (one instanceof Rejected) scores.push(one)
    else if (result?.success) scores.push(result.data)
    else if (result) {
      const found = shapeErrors(result.error.issues, one, lenient ? [] : ["body", "scores", index])
      if (lenient) scores.push(rejected(found[0]))
      else errors.push(...found)
    }
    if (errors.length > MAX_ERRORS) return [...errors.slice(0, MAX_ERRORS), moreErrors(["body"])]
  }
  return errors.length > 0 ? errors : { scores, failOnError: allOrNothing, lenient }
}

/** A score of a record, as it was parsed, or why its shape is wrong. */
export function scoreOrRejected(record: Record<string, unknown>): Score | Rejected {
  const fields = { ...record }
  withPlainScores([fields])
  const result = ValidScore.safeParse(fields)
  return result.success ? result.data : rejected(shapeErrors(result.error.issues, fields, [])[0])
}

const rejected = (error: ShapeError | undefined): Rejected =>
  new Rejected(error ? shapeViolation(error) : { code: "wrong_type", message: "not a score" })

import type { Context } from "hono"
import { ignoredScoreFields, withPlainScores } from "../../scores/score.ts"
import { type ValidScores, validateScores } from "../../scores/validate.ts"
import { parseJson, parseNdjson, readBody } from "../../signals/json.ts"
import type { Validation } from "../../signals/validate.ts"
import type { App } from "../request/context.ts"
import { timeValidation } from "../request/headers.ts"
import { invalidShape, tooManySignals } from "../request/problems.ts"
import { readText, type SentKey, typeOfBatch } from "./requests.ts"

/** A validated batch of scores, with its options from body and headers. */
export interface SentScores extends ValidScores {
  ignoredFields: string[]
  idempotency: SentKey | undefined
}

/**
 * Reads and validates the body of a batch of scores, JSON or NDJSON. Throws as `readBatch` does.
 *
 * @param asked the options from the request's query and headers
 */
export async function readScores(c: Context<App>, asked: Validation): Promise<SentScores> {
  const isLines = typeOfBatch(c) === "ndjson"
  const { text, idempotency } = await readText(c, isLines ? "scores:ndjson:" : "scores:")
  const most = c.get("settings").limits.maxSignals
  const lenient = asked.lenient && !asked.failOnError
  return timeValidation(c, () => {
    const batch = isLines ? { scores: readBody(() => parseNdjson(text, most, { lenient })) } : parseJson(text)
    const sent = (batch as { scores?: unknown } | null)?.scores
    if (Array.isArray(sent)) {
      if (sent.length > most) throw tooManySignals(most, "scores")
      withPlainScores(sent)
    }
    const valid = validateScores(batch, asked)
    if (Array.isArray(valid)) throw invalidShape(valid)
    return { ...valid, ignoredFields: ignoredScoreFields(batch as { scores: unknown[] }), idempotency }
  })
}

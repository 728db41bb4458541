import type { BatchOptions, SignalClient } from "./client.ts"
import { RequestError, ValidationError } from "./errors.ts"
import type { BatchAnswer, Failure, NewSignal } from "./types.ts"

/**
 * Stores the signals of a batch that can be stored, each for itself: one of the wrong shape, or too large, fails alone too, which
 * `createBatch` can't offer. The key of what is sent without those is made from `idempotencyKey`, so that the whole may be repeated.
 *
 * @returns what was not stored, by its place
 * @throws whatever `createBatch` throws that is not about single signals
 */
export async function deliverEach(
  client: SignalClient,
  signals: readonly NewSignal[],
  options: BatchOptions & { idempotencyKey: string; onAnswer?: ((answer: BatchAnswer) => void) | undefined },
): Promise<Failure[]> {
  const failures = await send(
    signals.map((signal, index) => ({ index, signal })),
    options.idempotencyKey,
  )
  return failures.sort((one, other) => one.index - other.index)

  type Part = { index: number; signal: NewSignal }[]

  async function send(part: Part, idempotencyKey: string): Promise<Failure[]> {
    if (part.length === 0) return []
    const batch = part.map(({ signal }) => signal)
    try {
      const answer = await client.createBatch(batch, { ...options, idempotencyKey, minimal: true, allOrNothing: false })
      options.onAnswer?.(answer)
      return answer.results.flatMap(({ index, error }) => (error === null ? [] : [{ index: part[index]?.index ?? index, error }]))
    } catch (error) {
      if (error instanceof ValidationError) return withoutMisshapen(part, error, idempotencyKey)
      if (error instanceof RequestError && error.status === 413) return inHalves(part, error, idempotencyKey)
      throw error
    }
  }

  async function withoutMisshapen(part: Part, error: ValidationError, key: string): Promise<Failure[]> {
    const faults = new Map<number, string>()
    for (const { loc, msg } of error.errors) {
      const [, , place, ...field] = loc
      if (typeof place === "number" && !faults.has(place))
        faults.set(place, field.length > 0 ? `${field.join(".")}: ${msg}` : msg)
    }
    // Nothing of it is about one signal, so it is about the request.
    if (faults.size === 0) throw error
    const bad = part.flatMap(({ index }, place) => (faults.has(place) ? [{ index, error: faults.get(place) ?? "" }] : []))
    const rest = part.filter((_, place) => !faults.has(place))
    return [...bad, ...(await send(rest, `${key}-rest`))]
  }

  async function inHalves(part: Part, error: RequestError, key: string): Promise<Failure[]> {
    const [only] = part
    if (part.length === 1 && only) return [{ index: only.index, error: error.message }]
    const middle = Math.ceil(part.length / 2)
    return [...(await send(part.slice(0, middle), `${key}-a`)), ...(await send(part.slice(middle), `${key}-b`))]
  }
}

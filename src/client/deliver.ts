import type { BatchOptions, SignalClient } from "./client.ts"
import { RequestError, ValidationError } from "./errors.ts"
import type { BatchAnswer, Failure, NewSignal } from "./types.ts"

export interface DeliverOptions extends BatchOptions {
  idempotencyKey: string
  /** Receives each answer: a batch may be sent in several parts. */
  onAnswer?: ((answer: BatchAnswer) => void) | undefined
  /**
   * Returns the shape error of a signal, as a sentence. It is called when a batch has more shape errors than the service's answer
   * names, so that one more request is enough.
   */
  findShapeError?: ((signal: NewSignal) => string | undefined) | undefined
  /** A signal of the batch is lost. Where the service refuses the key for these signals, it has stored all of them before. */
  isDamaged?: boolean | undefined
}

/**
 * Stores every signal of a batch that can be stored. One of the wrong shape, or too large, fails alone, which `createBatch` does not
 * offer. The keys of the parts are derived from `idempotencyKey`, so that the whole batch may be sent again.
 *
 * @returns the signals that were not stored, by their index
 * @throws {SignalError} an error of `createBatch` that is not about single signals; a part of the batch may be stored
 */
export async function deliverEach(
  client: SignalClient,
  signals: readonly NewSignal[],
  options: DeliverOptions,
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
      const answer = await client.createBatch(batch, {
        ...options,
        idempotencyKey,
        minimal: options.minimal ?? true,
        allOrNothing: false,
      })
      options.onAnswer?.(answer)
      return answer.results.flatMap(({ index, error, code = "unclassified", field, retryable = false }) =>
        error === null ? [] : [{ index: part[index]?.index ?? index, error, code, field, retryable }],
      )
    } catch (error) {
      if (options.isDamaged && isKeyReused(error)) return []
      if (error instanceof ValidationError) return withoutMisshapen(part, error, idempotencyKey)
      if (error instanceof RequestError && error.status === 413) return inHalves(part, error, idempotencyKey)
      throw error
    }
  }

  async function withoutMisshapen(part: Part, error: ValidationError, key: string): Promise<Failure[]> {
    const named = misshapen(part, error)
    // No error names a signal, so the request itself is refused.
    if (named.size === 0) throw error
    const isComplete = error.errors.length < MAX_ERRORS
    const found = isComplete ? new Map<number, string>() : foundMisshapen(part, named)
    for (const [place, sentence] of found) named.set(place, sentence)
    const bad = part.flatMap(({ index }, place) =>
      named.has(place) ? [{ index, error: named.get(place) ?? "", code: "wrong_type" as const, retryable: false }] : [],
    )
    const rest = part.filter((_, place) => !named.has(place))
    // More signals may be misshapen than the answer names: halves isolate them in a bounded number of requests.
    const others = isComplete || found.size > 0 ? await send(rest, await derived(key, "rest")) : await bisect(rest, key)
    return [...bad, ...others]
  }

  function foundMisshapen(part: Part, named: ReadonlyMap<number, string>): Map<number, string> {
    const found = new Map<number, string>()
    for (const [place, { signal }] of part.entries()) {
      const sentence = named.has(place) ? undefined : options.findShapeError?.(signal)
      if (sentence !== undefined) found.set(place, sentence)
    }
    return found
  }

  async function inHalves(part: Part, error: RequestError, key: string): Promise<Failure[]> {
    const [only] = part
    if (part.length === 1 && only) return [{ index: only.index, error: error.message, code: "too_large", retryable: false }]
    return bisect(part, key)
  }

  async function bisect(part: Part, key: string): Promise<Failure[]> {
    const middle = Math.ceil(part.length / 2)
    const first = await send(part.slice(0, middle), await derived(key, "first half"))
    return [...first, ...(await send(part.slice(middle), await derived(key, "second half")))]
  }
}

const isKeyReused = (error: unknown) =>
  error instanceof ValidationError && error.errors.some(({ type }) => type === "idempotency_key_reused")

/** The most shape errors that an answer of the service names. */
const MAX_ERRORS = 100

/** The first error of each signal that a refused batch names, by its place. */
function misshapen(part: readonly unknown[], { errors }: ValidationError): Map<number, string> {
  const named = new Map<number, string>()
  for (const { loc, msg } of errors) {
    const [, , place, ...field] = loc
    if (typeof place === "number" && place < part.length && !named.has(place))
      named.set(place, field.length > 0 ? `${field.join(".")}: ${msg}` : msg)
  }
  return named
}

/** A key for a part of a batch: of the same length at every depth, and the same at every run. */
async function derived(key: string, part: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(`${key}\n${part}`))
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("")
}

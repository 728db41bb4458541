import type { BatchOptions, SignalClient } from "./client.ts"
import { RequestError, ValidationError } from "./errors.ts"
import type { BatchAnswer, Failure, NewSignal } from "./types.ts"

export interface DeliverOptions extends BatchOptions {
  idempotencyKey: string
  /** Receives each answer: a batch may be sent in several parts. */
  onAnswer?: ((answer: BatchAnswer) => void) | undefined
  /**
   * A signal of the batch is lost. When the service then refuses the key for the other signals, it stored the
   * whole batch earlier.
   */
  isDamaged?: boolean | undefined
}

/**
 * Stores every signal of a batch that can be stored. A signal of the wrong shape fails alone. A batch over a
 * limit of the service is sent in parts, under keys derived from `idempotencyKey`, so that the whole batch
 * can be sent again.
 *
 * @returns the signals that were not stored, by their index
 * @throws {SignalError} an error of `createBatch` that is not about single signals; a part of the batch may
 *   be stored
 * @throws {RequestError} a signal has the wrong shape, and the service is too old to store the others without
 *   it
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
        lenient: true,
      })
      options.onAnswer?.(answer)
      // An early version of the service has no codes.
      return answer.results.flatMap(({ index, error, code = "unclassified", field, retryable = false }) =>
        error === null ? [] : [{ index: part[index]?.index ?? index, error, code, field, retryable }],
      )
    } catch (error) {
      if (options.isDamaged && isKeyReused(error)) return []
      if (error instanceof ValidationError && namesSignal(error)) throw tooOld(error)
      if (error instanceof RequestError && error.status === 413) return inHalves(part, error, idempotencyKey)
      throw error
    }
  }

  async function inHalves(part: Part, error: RequestError, key: string): Promise<Failure[]> {
    const [only] = part
    if (part.length === 1 && only)
      return [{ index: only.index, error: error.message, code: "too_large", retryable: false }]
    const middle = Math.ceil(part.length / 2)
    const first = await send(part.slice(0, middle), await derived(key, "first half"))
    return [...first, ...(await send(part.slice(middle), await derived(key, "second half")))]
  }
}

const isKeyReused = (error: unknown) =>
  error instanceof ValidationError && error.errors.some(({ type }) => type === "idempotency_key_reused")

/**
 * Whether the service refused the batch for single signals, as versions that do not know `handling=lenient`
 * do.
 */
const namesSignal = ({ errors }: ValidationError) =>
  errors.some(({ loc }) => loc[1] === "signals" && typeof loc[2] === "number")

const tooOld = (error: ValidationError) =>
  new RequestError(
    `${error.message}. This service does not know "Prefer: handling=lenient", so it stores nothing of the batch. Deploy its newest version, then send the batch again.`,
    error,
  )

/**
 * Derives the key of a part of a batch. It has the same length at every depth, and is the same in every run.
 */
async function derived(key: string, part: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(`${key}\n${part}`))
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("")
}

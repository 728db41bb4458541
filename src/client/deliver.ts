import { InvalidSignalError, RequestError, ValidationError } from "./api/errors.ts"
import type { BatchAnswer, Failure, NewSignal, SignalResult } from "./api/types.ts"
import { encodeSignal } from "./base/encode.ts"
import { keyOfHalf } from "./base/keys.ts"
import type { SignalClient } from "./client.ts"
import type { BatchOptions } from "./http/request.ts"

export interface DeliverOptions extends BatchOptions {
  idempotencyKey: string
  /** Receives each answer: a batch may be sent in several parts. */
  onAnswer?: ((answer: BatchAnswer) => void) | undefined
  /**
   * A signal of the batch is lost. When the service then refuses the key for the other signals, it stored the
   * whole batch earlier.
   */
  isDamaged?: boolean | undefined
  /** The texts are scores. */
  isScores?: boolean | undefined
}

/** A signal as JSON, with its index in the batch that the caller gave. */
interface Encoded {
  index: number
  text: string
}

/**
 * Stores every signal of a batch that can be stored. A signal that has the wrong shape, or that JSON cannot
 * hold, fails alone. A batch over a limit of the service is sent in halves, under keys derived from
 * `idempotencyKey`, so that the whole batch can be sent again.
 *
 * @returns the signals that were not stored, by their index
 * @throws {SignalError} an error of `createBatch` that is not about single signals; a part of the batch may
 *   be stored
 */
export async function deliverEach(
  client: SignalClient,
  signals: readonly NewSignal[],
  options: DeliverOptions,
): Promise<Failure[]> {
  const encoded: Encoded[] = []
  const failures: Failure[] = []
  for (const [index, signal] of signals.entries()) {
    const { text, failure } = encodeOrFail(signal)
    if (failure) failures.push({ index, ...failure, retryable: false })
    else encoded.push({ index, text })
  }
  return byIndex([...failures, ...(await deliverInParts(client, encoded, options))])
}

/**
 * As `deliverEach`, for signals that are JSON texts already.
 *
 * @throws {SignalError} as `deliverEach`
 */
export const deliverTexts = async (
  client: SignalClient,
  texts: readonly string[],
  options: DeliverOptions,
): Promise<Failure[]> =>
  byIndex(
    await deliverInParts(
      client,
      texts.map((text, index) => ({ index, text })),
      options,
    ),
  )

/** Writes a signal as JSON, or says why JSON cannot hold it. */
export function encodeOrFail(
  signal: unknown,
):
  | { text: string; failure?: undefined }
  | { text?: undefined; failure: Pick<Failure, "error" | "code" | "field"> } {
  try {
    return { text: encodeSignal(signal) }
  } catch (error) {
    if (!(error instanceof InvalidSignalError)) throw error
    const { message, failureCode, field } = error
    return { failure: { error: message, code: failureCode, field } }
  }
}

const byIndex = (failures: Failure[]): Failure[] => failures.sort((a, b) => a.index - b.index)

async function deliverInParts(
  client: SignalClient,
  encoded: readonly Encoded[],
  options: DeliverOptions,
): Promise<Failure[]> {
  return send(encoded, options.idempotencyKey)

  async function send(part: readonly Encoded[], idempotencyKey: string): Promise<Failure[]> {
    if (part.length === 0) return []
    try {
      const texts = part.map(({ text }) => text)
      const sending = {
        ...options,
        idempotencyKey,
        minimal: options.minimal ?? true,
        allOrNothing: false,
        lenient: true,
      }
      const answer = await (options.isScores
        ? client.createScoresOf(texts, sending)
        : client.createBatchOf(texts, sending))
      options.onAnswer?.(answer)
      return answer.results.filter(isFailure).map(({ index, error, code, field, retryable }) => {
        return { index: part[index]?.index ?? index, error, code, field, retryable }
      })
    } catch (error) {
      if (options.isDamaged && isKeyReused(error)) return []
      if (error instanceof RequestError && error.status === 413) return inHalves(part, error, idempotencyKey)
      throw error
    }
  }

  async function inHalves(part: readonly Encoded[], error: RequestError, key: string): Promise<Failure[]> {
    const [only] = part
    if (part.length === 1 && only)
      return [{ index: only.index, error: error.message, code: "too_large", retryable: false }]
    const middle = Math.ceil(part.length / 2)
    const first = await send(part.slice(0, middle), await keyOfHalf(key, "first half"))
    return [...first, ...(await send(part.slice(middle), await keyOfHalf(key, "second half")))]
  }
}

const isFailure = (result: SignalResult): result is SignalResult & Failure => !result.success

const isKeyReused = (error: unknown) =>
  error instanceof ValidationError && error.errors.some(({ type }) => type === "idempotency_key_reused")

import { isBatchRecord } from "./api/answers.ts"
import { newKey } from "./base/keys.ts"
import { checkToken } from "./http/address.ts"
import type { BatchOptions, SendOptions } from "./http/request.ts"
import type { Exchange, Transport } from "./http/transport.ts"

const MAX_KEY_CHARACTERS = 255

/** A call that sends a batch. */
export interface BatchRequest {
  path: string
  field: "signals" | "scores"
  /** Whether an answer is one of a stored batch. */
  isExpected: Exchange["isExpected"]
  /** Whether the service may store it later, and answer with its record. */
  isQueued?: boolean | undefined
}

/**
 * Sends a batch of JSON texts under an idempotency key, the same for all attempts.
 *
 * @throws {SignalError}
 */
export async function sendBatch<Answer>(
  transport: Transport,
  { path, field, isExpected, isQueued = false }: BatchRequest,
  texts: readonly string[],
  options: BatchOptions,
): Promise<Answer> {
  const { allOrNothing = false, minimal, lenient } = options
  const preferences = [
    isQueued && "respond-async",
    minimal && "return=minimal",
    lenient && "handling=lenient",
  ].filter(Boolean)
  const isRecord = (json: unknown) =>
    isBatchRecord(json) && (json as { total_count?: unknown }).total_count === texts.length
  return send<Answer>(
    transport,
    path,
    `{"${field}":[${texts.join(",")}],"fail_on_error":${allOrNothing}}`,
    { isExpected: (json) => isExpected(json) || (isQueued && isRecord(json)) },
    options,
    preferences.length > 0 ? { Prefer: preferences.join(", ") } : {},
  )
}

/**
 * Sends JSON under an idempotency key, the same for all attempts.
 *
 * @throws {SignalError}
 */
export async function send<Answer>(
  transport: Transport,
  path: string,
  text: string,
  exchange: Exchange,
  options: SendOptions,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const { idempotencyKey = newKey() } = options
  if (idempotencyKey.length > MAX_KEY_CHARACTERS)
    throw new RangeError(`idempotencyKey must have at most ${MAX_KEY_CHARACTERS} characters.`)
  const key = { "Idempotency-Key": checkToken("idempotencyKey", idempotencyKey) }
  return (await transport.post(
    path,
    text,
    { ...exchange, headers: { ...headers, ...key } },
    options,
  )) as Answer
}

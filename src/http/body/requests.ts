import { createHash } from "node:crypto"
import type { Context } from "hono"
import type * as z from "zod"
import { countContainers, decodeUtf8, parseJson, parseNdjson, readBody } from "../../signals/json.ts"
import { ignoredFields } from "../../signals/plan.ts"
import { type Signal, withPlainNumbers } from "../../signals/schema.ts"
import { shapeErrors } from "../../signals/shape-errors.ts"
import { type Validation, type ValidBatch, validateBatch, validateSignal } from "../../signals/validate.ts"
import type { App } from "../request/context.ts"
import { timeValidation } from "../request/headers.ts"
import { invalidShape, tooManySignals, unsupportedMediaType } from "../request/problems.ts"
import { admit, costOf } from "./admission.ts"
import { decodeBody, mediaType, readSent } from "./bytes.ts"

/** curl sends the form type by default, so that the calls of the documentation work without a header. */
const JSON_TYPES = new Set(["", "application/json", "application/x-www-form-urlencoded"])
const NDJSON_TYPES = new Set(["application/x-ndjson", "application/ndjson", "application/jsonl"])

/** A validated batch, with its options from body and headers. */
export interface SentBatch extends ValidBatch {
  ignoredFields: string[]
  idempotency: SentKey | undefined
}

/** An Idempotency-Key, and the digest of the request under it. */
export interface SentKey {
  key: string
  /** SHA-256 of the decoded body in hexadecimal digits, after a prefix for the route and the type. */
  digest: string
}

/**
 * Reads and validates the body of a batch, JSON or NDJSON.
 *
 * @param asked the options from the request's query and headers
 * @throws {Problem} 413, 415 or 422, and 503 when there is no room for it now
 * @throws {Unreadable}
 */
export async function readBatch(c: Context<App>, asked: Validation): Promise<SentBatch> {
  const isLines = typeOfBatch(c) === "ndjson"
  const { text, idempotency } = await readText(c, isLines ? "ndjson:" : "")
  const { maxSignals } = c.get("settings").limits
  return { ...timeValidation(c, () => parseBatch(text, { ...asked, isLines, maxSignals })), idempotency }
}

/** @throws {Problem} 415 */
export function typeOfBatch(c: Context<App>): "json" | "ndjson" {
  const type = mediaType(c)
  if (NDJSON_TYPES.has(type)) return "ndjson"
  if (!JSON_TYPES.has(type)) throw unsupportedMediaType(type)
  return "json"
}

/** Parses and validates a batch. Throws as `readBatch` does. */
function parseBatch(
  text: string,
  { isLines, maxSignals, ...asked }: Validation & { isLines: boolean; maxSignals: number },
): Omit<SentBatch, "idempotency"> {
  const batch = isLines
    ? {
        signals: readBody(() =>
          parseNdjson(text, maxSignals, { lenient: asked.lenient && !asked.failOnError }),
        ),
      }
    : parseJson(text)
  const signals = (batch as { signals?: unknown } | null)?.signals
  if (Array.isArray(signals)) {
    if (signals.length > maxSignals) throw tooManySignals(maxSignals)
    for (const signal of signals) withPlainNumbers(signal)
  }
  const valid = validateBatch(batch, asked)
  if (Array.isArray(valid)) throw invalidShape(valid)
  return { ...valid, ignoredFields: ignoredFields(batch as { signals: unknown[] }) }
}

/** Reads and validates the body of a single signal. Throws as `readBatch` does. */
export async function readSignal(
  c: Context<App>,
): Promise<{ signal: Signal; idempotency: SentKey | undefined }> {
  const type = mediaType(c)
  if (!JSON_TYPES.has(type)) throw unsupportedMediaType(type)
  const { text, idempotency } = await readText(c, "single:")
  const signal = timeValidation(c, () => {
    const value = withPlainNumbers(parseJson(text))
    const result = validateSignal(value)
    if (!result.success) throw invalidShape(shapeErrors(result.error.issues, value, ["body"]))
    return result.data
  })
  return { signal, idempotency }
}

/**
 * Reads and validates a JSON body that is no signal. Throws as `readBatch` does.
 *
 * @param kind distinguishes equal bytes of different routes in the digest
 */
export async function readRequest<Schema extends z.ZodType>(
  c: Context<App>,
  schema: Schema,
  kind: string,
): Promise<{ request: z.infer<Schema>; idempotency: SentKey | undefined }> {
  const type = mediaType(c)
  if (!JSON_TYPES.has(type)) throw unsupportedMediaType(type)
  const { text, idempotency } = await readText(c, kind)
  const value = parseJson(text)
  const result = schema.safeParse(value)
  if (!result.success) throw invalidShape(shapeErrors(result.error.issues, value, ["body"]))
  return { request: result.data, idempotency }
}

/** @param kind distinguishes equal bytes of different routes and types in the digest */
export async function readText(
  c: Context<App>,
  kind: string,
): Promise<{ text: string; idempotency: SentKey | undefined }> {
  const key = readKey(c)
  const bytes = await decodeBody(c, await readSent(c))
  await admit(c, costOf({ bytes: bytes.length, containers: countContainers(bytes) }))
  const idempotency =
    key === undefined
      ? undefined
      : { key, digest: `${kind}${createHash("sha256").update(bytes).digest("hex")}` }
  return { text: decodeUtf8(bytes), idempotency }
}

/** @see https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/ */
function readKey(c: Context<App>): string | undefined {
  const key = c.req.header("Idempotency-Key")
  if (key === undefined || /^[\x21-\x7e]{1,255}$/.test(key)) return key
  const msg = "Idempotency-Key must be 1 to 255 visible ASCII characters"
  throw invalidShape([{ type: "string_pattern_mismatch", loc: ["header", "Idempotency-Key"], msg }])
}

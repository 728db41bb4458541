import type { Context } from "hono"
import { missingBody } from "../../signals/shape-errors.ts"
import type { App } from "../request/context.ts"
import {
  bodyCutOff,
  bodyTimeout,
  bodyTooLarge,
  invalidShape,
  unsupportedEncoding,
} from "../request/problems.ts"
import { admit, admitAtOnce, bodyDeadlineMs, costOf } from "./admission.ts"
import { ACCEPT_ENCODING, decode, type EncodingName, encodingOf } from "./encodings.ts"

/** The media type of the body in lower case, without parameters; "" when the request has none. */
export function mediaType(c: Context<App>): string {
  return (c.req.header("Content-Type") ?? "").split(";", 1)[0]?.trim().toLowerCase() ?? ""
}

/**
 * Reads the body as it was sent, which a signature covers. Waits until there is room for it.
 *
 * @throws {Problem} too large, cut off, too slow, or no room
 */
export async function readSent(
  c: Context<App>,
  maxBytes = c.get("settings").limits.maxBodyBytes,
): Promise<Uint8Array> {
  const declared = c.req.header("Content-Length")
  if (Number(declared ?? 0) > maxBytes) throw bodyTooLarge(maxBytes)
  if (!c.req.raw.body) return new Uint8Array()
  try {
    // The runtime reads no more than the declared length. Reading it whole takes a tenth of the time of
    // chunks of 4 KB.
    if (declared !== undefined) {
      await admit(c, costOf({ bytes: Number(declared) }))
      const reading = c.req.raw.arrayBuffer().then((buffer) => new Uint8Array(buffer))
      return await inTime(reading, bodyDeadlineMs(Number(declared)))
    }
    return await readChunks(c, c.req.raw.body, maxBytes)
  } catch (error) {
    // The runtime throws a plain Error when the connection ends before the body.
    throw isLost(error) ? bodyCutOff() : error
  }
}

const isLost = (error: unknown) => error instanceof Error && error.constructor === Error

/** The waits for room do not count as time of arrival. */
async function readChunks(
  c: Context<App>,
  body: ReadableStream<Uint8Array>,
  maxBytes: number,
): Promise<Uint8Array> {
  const reader = body.getReader()
  const chunks: Uint8Array[] = []
  let [length, arrivingMs] = [0, 0]
  try {
    for (;;) {
      const startedAt = Date.now()
      const { done, value } = await inTime(reader.read(), bodyDeadlineMs(length), arrivingMs)
      if (done) break
      arrivingMs += Date.now() - startedAt
      length += value.length
      if (length > maxBytes) throw bodyTooLarge(maxBytes)
      await admit(c, costOf({ bytes: length }))
      chunks.push(value)
    }
  } catch (error) {
    reader.cancel(error).catch(() => undefined)
    throw error
  }
  const bytes = new Uint8Array(length)
  let offset = 0
  for (const chunk of chunks) {
    bytes.set(chunk, offset)
    offset += chunk.length
  }
  return bytes
}

/** @throws {Problem} 408: a slow body must not hold room that other requests need */
async function inTime<T>(reading: Promise<T>, deadlineMs: number, passedMs = 0): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(bodyTimeout(deadlineMs / 1000)), deadlineMs - passedMs)
  })
  try {
    return await Promise.race([reading, late])
  } finally {
    clearTimeout(timer)
  }
}

/**
 * Decodes a body by its `Content-Encoding`, and names the accepted codings in the answer (RFC 9110, section
 * 12.5.3).
 *
 * @throws {Problem} the body is empty, damaged, in an unknown coding or too large when decoded, or there is
 *   no room
 */
export async function decodeBody(c: Context<App>, sent: Uint8Array): Promise<Uint8Array> {
  c.header("Accept-Encoding", ACCEPT_ENCODING)
  const header = c.req.header("Content-Encoding")
  const encoding = encodingOf(header)
  if (encoding === undefined) throw unsupportedEncoding(header ?? "", ACCEPT_ENCODING)
  const bytes = encoding === "identity" ? sent : await decodeWithRoom(c, encoding, sent)
  if (bytes.length === 0) throw invalidShape([missingBody()])
  c.set("bodyBytes", bytes.length)
  return bytes
}

async function decodeWithRoom(
  c: Context<App>,
  encoding: EncodingName,
  sent: Uint8Array,
): Promise<Uint8Array> {
  const { maxBodyBytes } = c.get("settings").limits
  const decoded = decode(encoding, sent, maxBodyBytes)
  const cost = costOf({ bytes: decoded.length })
  return admitAtOnce(c, cost) ? decoded : decodeLater(c, { encoding, sent, cost })
}

interface Waiting {
  encoding: EncodingName
  sent: Uint8Array
  cost: number
}

/** Waits for room with the encoded bytes only, then decodes them again. */
async function decodeLater(c: Context<App>, { encoding, sent, cost }: Waiting): Promise<Uint8Array> {
  await admit(c, cost)
  return decode(encoding, sent, c.get("settings").limits.maxBodyBytes)
}

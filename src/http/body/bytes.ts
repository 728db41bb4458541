import { waitUntil } from "cloudflare:workers"
import type { Context } from "hono"
import { missingBody } from "../../signals/shape-errors.ts"
import { connect } from "../../store/database/connection.ts"
import { LEAST_BYTES_A_SECOND, LONGEST_PAUSE_MS } from "../request/bounds.ts"
import { type App, ownerOf } from "../request/context.ts"
import {
  bodyCutOff,
  bodyTimeout,
  bodyTooLarge,
  invalidShape,
  unsupportedEncoding,
} from "../request/problems.ts"
import { admit, admitAtOnce, costOf, receive, releaseArriving } from "./admission.ts"
import { ACCEPT_ENCODING, decode, type EncodingName, encodingOf } from "./encodings.ts"
import { readingBody } from "./entrance.ts"

/** The media type of the body in lower case, without parameters; "" when the request has none. */
export function mediaType(c: Context<App>): string {
  return (c.req.header("Content-Type") ?? "").split(";", 1)[0]?.trim().toLowerCase() ?? ""
}

/**
 * So much of a body is claimed before it has arrived: what is read at once, which is faster than in parts.
 */
const STEP_BYTES = 128 * 1024

/** What is read of a refused body after the refusal. The connection of a longer one is closed. */
const MAX_DRAINED_BYTES = 64 * 1024 * 1024

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
  const { body } = c.req.raw
  if (!body) return new Uint8Array()
  const startedAt = Date.now()
  try {
    return await readingBody(c.req.raw, () => readArriving(c, body, maxBytes))
  } catch (error) {
    // The runtime throws a plain Error when the connection ends before the body.
    throw isLost(error) ? bodyCutOff() : error
  } finally {
    if (Date.now() - startedAt > NOTABLE_MS) restartDeadline(c)
  }
}

async function readArriving(
  c: Context<App>,
  body: ReadableStream<Uint8Array>,
  maxBytes: number,
): Promise<Uint8Array> {
  const declared = c.req.header("Content-Length")
  if (declared === undefined || Number(declared) > STEP_BYTES)
    return readSteps(c, stepsOf(body, declared), maxBytes)
  await receive(c, Number(declared))
  const reading = c.req.raw.arrayBuffer().then((buffer) => new Uint8Array(buffer))
  return inTime(reading, LONGEST_PAUSE_MS)
}

const isLost = (error: unknown) => error instanceof Error && error.constructor === Error

const NOTABLE_MS = 500

/** The time in which a body arrives is not the database's. */
function restartDeadline(c: Context<App>): void {
  const { signal } = c.req.raw
  const options = { traffic: "writes", keepAlive: waitUntil, signal, owner: () => ownerOf(c) } as const
  c.set("db", connect(c.get("settings").database, options))
}

/** The steps in which a body is read. */
interface Steps {
  /** Whether nobody else can read the memory of its chunks. */
  ownsChunks: boolean
  /** The most bytes of the next step; 0 when the body must be at its end. */
  next(): number
  read(): Promise<{ done: boolean; value?: Uint8Array | undefined }>
  cancel(reason: unknown): Promise<void>
}

/** Reads what the runtime has, or with a declared length whole steps, which takes less time. */
function stepsOf(body: ReadableStream<Uint8Array>, declared: string | undefined): Steps {
  const bytes = declared === undefined ? undefined : byteReader(body)
  if (!bytes) {
    const reader = body.getReader()
    return {
      ownsChunks: false,
      next: () => 0,
      read: () => reader.read(),
      cancel: (reason) => reader.cancel(reason),
    }
  }
  let left = Number(declared)
  const next = () => Math.min(STEP_BYTES, left)
  return {
    ownsChunks: true,
    next,
    async read() {
      if (left === 0) return { done: true }
      const { done, value } = await bytes.readAtLeast(next(), new Uint8Array(next()))
      left -= value?.length ?? 0
      return { done, value }
    },
    cancel: (reason) => bytes.cancel(reason),
  }
}

/** Undefined for a stream that only JavaScript feeds, as in tests. */
function byteReader(body: ReadableStream<Uint8Array>): ReadableStreamBYOBReader | undefined {
  try {
    return body.getReader({ mode: "byob" })
  } catch {
    return undefined
  }
}

async function readSteps(c: Context<App>, steps: Steps, maxBytes: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  const pace = new Pace(steps)
  let length = 0
  try {
    for (;;) {
      const claimed = steps.next()
      if (claimed > 0) await receive(c, claimed)
      const chunk = await pace.read()
      if (!chunk) break
      length += chunk.length
      if (length > maxBytes) throw bodyTooLarge(maxBytes)
      if (claimed === 0) await receive(c, chunk.length)
      chunks.push(chunk)
    }
  } catch (error) {
    chunks.length = 0
    releaseArriving(c)
    await drain(pace)
    throw error
  }
  const bytes = new Uint8Array(length)
  let offset = 0
  for (const chunk of chunks) {
    bytes.set(chunk, offset)
    offset += chunk.length
    // Frees the memory now, and not at the next collection of garbage.
    if (steps.ownsChunks) (chunk.buffer as ArrayBuffer).transfer(0)
  }
  return bytes
}

/** Reads a body that must arrive at the least rate. */
class Pace {
  #slackMs = LONGEST_PAUSE_MS
  readonly #steps: Steps
  /** The body has arrived, or cannot arrive any more. */
  ended = false

  constructor(steps: Steps) {
    this.#steps = steps
  }

  /**
   * Returns the next bytes, or undefined at the end.
   *
   * @throws {Problem} 408: the body arrives too slowly
   */
  async read(): Promise<Uint8Array | undefined> {
    const startedAt = Date.now()
    try {
      const { done, value } = await inTime(this.#steps.read(), this.#slackMs)
      this.ended = done || !value
      if (this.ended) return undefined
      const earnedMs = ((value?.length ?? 0) * 1000) / LEAST_BYTES_A_SECOND
      this.#slackMs = Math.min(LONGEST_PAUSE_MS, this.#slackMs - (Date.now() - startedAt) + earnedMs)
      return value
    } catch (error) {
      this.ended = true
      this.#steps.cancel(error).catch(() => undefined)
      throw error
    }
  }

  cancel(): void {
    if (!this.ended) this.#steps.cancel(undefined).catch(() => undefined)
  }
}

/**
 * Reads the rest of a refused body, and keeps none of it. The runtime resets the connection of a body that is
 * not read to its end: most senders then see no answer, or lose the next request of the connection.
 */
async function drain(pace: Pace): Promise<void> {
  try {
    for (let drained = 0; !pace.ended && drained < MAX_DRAINED_BYTES; )
      drained += (await pace.read())?.length ?? 0
  } catch {
    // The sender gets the first refusal, if it still reads.
  }
  pace.cancel()
}

/** @throws {Problem} 408: a slow body must not hold room that other requests need */
async function inTime<T>(reading: Promise<T>, ms: number): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(bodyTimeout()), ms)
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

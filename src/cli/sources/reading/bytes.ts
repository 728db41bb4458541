import { closeSync, createReadStream, openSync, readSync, statSync } from "node:fs"
import { Readable } from "node:stream"
import { pipeline } from "node:stream/promises"
import { createGunzip } from "node:zlib"
import { SourceError } from "./source.ts"

/**
 * Reads a file, or standard input for `-`. Unpacks gzip, and converts UTF-16 with a byte order mark to UTF-8.
 *
 * @throws {SourceError} the file cannot be read to its end; the bytes before have been yielded
 */
export async function* openBytes(path: string): AsyncGenerator<Buffer> {
  const name = path === "-" ? "standard input" : path
  try {
    yield* unpack(path === "-" ? process.stdin : createReadStream(path), name)
  } catch (error) {
    throw error instanceof SourceError
      ? error
      : new SourceError(`${name} cannot be read: ${(error as Error).message}.`)
  }
}

/**
 * Unpacks gzip and converts UTF-16, both recognized by the content, not by the name.
 *
 * @throws {SourceError} the gzip data is cut off or damaged; the bytes before have been yielded
 */
export async function* unpack(bytes: AsyncIterable<Buffer>, name: string): AsyncGenerator<Buffer> {
  const { start, whole } = await peek(bytes)
  if (isGzip(start)) yield* toUtf8(gunzip(whole, name), name)
  else yield* toUtf8(whole, name)
}

const isGzip = (start: Uint8Array) => start[0] === 0x1f && start[1] === 0x8b

async function* gunzip(bytes: AsyncIterable<Buffer>, name: string): AsyncGenerator<Buffer> {
  const unzip = createGunzip()
  // The loop over `unzip` throws the same error.
  pipeline(Readable.from(bytes), unzip).catch(() => {})
  try {
    for await (const chunk of unzip) yield chunk as Buffer
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === "Z_BUF_ERROR")
      throw new SourceError(`${name} is truncated: its gzip data ends early. Copy the file again.`)
    if (code?.startsWith("Z_"))
      throw new SourceError(`${name} is damaged: ${(error as Error).message}. Copy the file again.`)
    throw error
  }
}

async function* toUtf8(bytes: AsyncIterable<Buffer>, name: string): AsyncGenerator<Buffer> {
  const { start, whole } = await peek(bytes)
  const order = utf16Order(start)
  if (order === undefined) return yield* whole
  const decoder = new TextDecoder(order, { fatal: true })
  try {
    for await (const chunk of whole) yield Buffer.from(decoder.decode(chunk, { stream: true }))
    yield Buffer.from(decoder.decode())
  } catch (error) {
    if (error instanceof TypeError)
      throw new SourceError(`${name} has a UTF-16 byte order mark, but is not UTF-16. Save it as UTF-8.`)
    throw error
  }
}

/** The order of the bytes of UTF-16, by its mark. */
function utf16Order(start: Uint8Array): "utf-16le" | "utf-16be" | undefined {
  if (start[0] === 0xff && start[1] === 0xfe) return "utf-16le"
  return start[0] === 0xfe && start[1] === 0xff ? "utf-16be" : undefined
}

/** Reads the first bytes; `whole` yields all bytes, including those. */
export async function peek(
  bytes: AsyncIterable<Buffer>,
  length = 2,
): Promise<{ start: Buffer; whole: AsyncIterable<Buffer> }> {
  const rest = bytes[Symbol.asyncIterator]()
  let start = Buffer.alloc(0)
  while (start.length < length) {
    const { value, done } = await rest.next()
    if (done) break
    start = Buffer.concat([start, value])
  }
  async function* all() {
    if (start.length > 0) yield start
    yield* { [Symbol.asyncIterator]: () => rest }
  }
  return { start, whole: all() }
}

/**
 * Returns the part of a file, from 0 to 1, before a byte of its text; undefined where the text has other
 * bytes than the file.
 */
export function shareOfBytes(path: string): ((byte: number) => number) | undefined {
  if (path === "-") return undefined
  const start = firstBytes(path, 2)
  if (isGzip(start) || utf16Order(start) !== undefined) return undefined
  const { size } = statSync(path)
  return (byte) => byte / Math.max(1, size)
}

export function firstBytes(path: string, length: number): Buffer {
  const file = openSync(path, "r")
  try {
    const bytes = Buffer.alloc(length)
    return bytes.subarray(0, readSync(file, bytes, 0, length, 0))
  } finally {
    closeSync(file)
  }
}

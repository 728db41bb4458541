import { createReadStream, statSync } from "node:fs"
import { createGunzip } from "node:zlib"
import { UsageError } from "../usage.ts"

/** The longest line that is read: the service takes no signal near it. */
const MAX_LINE_BYTES = 16 * 1024 * 1024

export interface TextLine {
  /** From 1. */
  number: number
  text: string
  /** The byte after it, in the text as it is read. */
  end: number
}

/** The bytes of a file, or of standard input for `-`; what is gzipped by its name is unpacked. */
export function openBytes(path: string): AsyncIterable<Buffer> {
  if (path === "-") return process.stdin as AsyncIterable<Buffer>
  const file = createReadStream(path)
  const bytes = path.endsWith(".gz") ? file.pipe(createGunzip()) : file
  // An error of the file does not reach what it is piped into by itself.
  file.on("error", (error) => bytes.destroy(error))
  return bytes as AsyncIterable<Buffer>
}

/** How much of a file lies before a byte; undefined where its bytes are not those that are read. */
export function shareOfBytes(path: string): ((byte: number) => number) | undefined {
  if (path === "-" || path.endsWith(".gz")) return undefined
  const { size } = statSync(path)
  return (byte) => byte / Math.max(1, size)
}

/**
 * Lines in constant memory. A line that is too long is an error, since it can't be a signal and might be the whole file.
 *
 * @param from the `end` of the last line that is not wanted again
 */
export async function* linesOf(path: string, from = 0): AsyncGenerator<TextLine> {
  let rest: Buffer[] = []
  let restBytes = 0
  let number = 0
  let end = 0
  const line = (last: Buffer, bytes: number): TextLine | undefined => {
    number++
    end += bytes
    if (end <= from) return undefined
    return {
      number,
      text: Buffer.concat([...rest, last])
        .toString("utf8")
        .replace(/\r$/, ""),
      end,
    }
  }
  for await (const chunk of openBytes(path)) {
    let start = 0
    for (let at = chunk.indexOf(10); at !== -1; at = chunk.indexOf(10, start)) {
      const one = line(chunk.subarray(start, at), restBytes + at + 1 - start)
      rest = []
      restBytes = 0
      start = at + 1
      if (one) yield one
    }
    if (start === chunk.length) continue
    rest.push(chunk.subarray(start))
    restBytes += chunk.length - start
    if (restBytes > MAX_LINE_BYTES)
      throw new UsageError(`${path}: line ${number + 1} is longer than 16 MiB, so it is not one signal a line.`)
  }
  const last = restBytes > 0 ? line(Buffer.alloc(0), restBytes) : undefined
  if (last) yield last
}

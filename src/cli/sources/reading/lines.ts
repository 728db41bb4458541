import { decodeUtf8 } from "../../../signals/json.ts"
import { SourceError } from "./source.ts"

/** Bound of a line; the service accepts no signal of that size. */
const MAX_LINE_BYTES = 16 * 1024 * 1024

export interface TextLine {
  /** From 1. */
  number: number
  /** Undefined when the bytes are not UTF-8. */
  text: string | undefined
  bytes: Buffer
  /** The byte after the line, in the unpacked text. */
  end: number
}

export interface LineOptions {
  /** For messages. */
  name: string
  maxBytes?: number
}

/**
 * Reads lines in constant memory.
 *
 * @throws {SourceError} a line is longer than `maxBytes`; it might be the whole file
 */
export async function* linesOf(
  source: AsyncIterable<Buffer>,
  options: LineOptions,
): AsyncGenerator<TextLine> {
  const { name, maxBytes = MAX_LINE_BYTES } = options
  let rest: Buffer[] = []
  let restBytes = 0
  let number = 0
  let end = 0
  const line = (last: Buffer, length: number): TextLine => {
    number++
    end += length
    const whole = rest.length === 0 ? last : Buffer.concat([...rest, last])
    const bytes = whole.at(-1) === 13 ? whole.subarray(0, -1) : whole
    return { number, text: textOf(bytes), bytes, end }
  }
  for await (const chunk of source) {
    let start = 0
    for (let at = chunk.indexOf(10); at !== -1; at = chunk.indexOf(10, start)) {
      const complete = line(chunk.subarray(start, at), restBytes + at + 1 - start)
      rest = []
      restBytes = 0
      start = at + 1
      yield complete
    }
    if (start === chunk.length) continue
    rest.push(chunk.subarray(start))
    restBytes += chunk.length - start
    if (restBytes > maxBytes)
      throw new SourceError(
        `${name}: line ${number + 1} is longer than ${maxBytes / 1024 / 1024} MiB. A line must hold one record.`,
      )
  }
  if (restBytes > 0) yield line(Buffer.alloc(0), restBytes)
}

/** Decodes UTF-8; undefined when the bytes are not UTF-8. */
export function textOf(bytes: Uint8Array): string | undefined {
  try {
    return decodeUtf8(bytes)
  } catch {
    return undefined
  }
}

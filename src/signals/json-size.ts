/**
 * The most objects and arrays of one body. Each needs memory besides its text: `[[],[],...]` needs ten times
 * its size.
 */
export const MAX_CONTAINERS = 500_000

/** A body has more objects and arrays than `MAX_CONTAINERS`. */
export class TooManyContainers extends Error {}

/**
 * Counts the objects and arrays of a JSON or NDJSON body before anything is built from it.
 *
 * It reads four bytes at a time and counts every opening bracket. Only a body with too many brackets is read
 * again, without those in strings, which takes four times as long.
 *
 * @returns an upper bound of the count
 * @throws {TooManyContainers}
 */
export function countContainers(bytes: Uint8Array): number {
  const atMost = countOpenings(bytes)
  if (atMost <= MAX_CONTAINERS) return atMost
  const count = countOutsideTexts(bytes)
  if (count > MAX_CONTAINERS) throw new TooManyContainers()
  return count
}

/** The only bit in which `[` and `{` differ. */
const BRACKET_BIT = 0x20202020
const BRACE = 0x7b7b7b7b

/** @see https://graphics.stanford.edu/~seander/bithacks.html#ZeroInWord */
function countOpenings(bytes: Uint8Array): number {
  // Whole 32-bit words of the buffer; the bytes before and after them are read one by one.
  const start = (4 - (bytes.byteOffset % 4)) % 4
  const wordCount = Math.max(0, (bytes.length - start) >> 2)
  const words =
    wordCount > 0 ? new Uint32Array(bytes.buffer, bytes.byteOffset + start, wordCount) : new Uint32Array()
  let count = 0
  for (let place = 0; place < words.length; place++) {
    const rest = ((words[place] ?? 0) | BRACKET_BIT) ^ BRACE
    const found = (rest - 0x01010101) & ~rest & 0x80808080
    if (found !== 0) count += Math.imul((found >>> 7) & 0x01010101, 0x01010101) >>> 24
  }
  const head = wordCount > 0 ? start : bytes.length
  for (let place = 0; place < head; place++) if (isOpening(bytes[place])) count++
  for (let place = head + wordCount * 4; place < bytes.length; place++) if (isOpening(bytes[place])) count++
  return count
}

const isOpening = (byte: number | undefined) => byte === 0x5b || byte === 0x7b
const QUOTE = 0x22
const BACKSLASH = 0x5c

/**
 * Stops when there are too many. The count of a body that is not JSON can be wrong, but that body is refused
 * anyway.
 */
function countOutsideTexts(bytes: Uint8Array): number {
  let count = 0
  let isInText = false
  for (let place = 0; place < bytes.length && count <= MAX_CONTAINERS; place++) {
    const byte = bytes[place]
    if (byte === QUOTE) isInText = !isInText
    else if (isInText) {
      if (byte === BACKSLASH) place++
    } else if (isOpening(byte)) count++
  }
  return count
}

/** Objects and arrays that one body may hold. Each takes memory beside its text, so that `[[],[],...]` needs ten times its size. */
export const MAX_CONTAINERS = 500_000

/** A body holds more objects and arrays than `MAX_CONTAINERS`. */
export class TooManyContainers extends Error {}

/**
 * Counts the objects and arrays of a JSON or NDJSON body before anything is built from it.
 *
 * It looks at four bytes at a time and takes every bracket for one that opens a value. Only a body that has too many of them is read
 * once more, to leave out those within texts: that costs four times as much.
 *
 * @returns how many there are at most
 * @throws {TooManyContainers}
 */
export function countContainers(bytes: Uint8Array): number {
  const atMost = countOpenings(bytes)
  if (atMost <= MAX_CONTAINERS) return atMost
  const count = countOutsideTexts(bytes)
  if (count > MAX_CONTAINERS) throw new TooManyContainers()
  return count
}

/** `[` and `{` differ in this bit alone. */
const BRACKET_BIT = 0x20202020
const BRACE = 0x7b7b7b7b

/** @see https://graphics.stanford.edu/~seander/bithacks.html#ZeroInWord */
function countOpenings(bytes: Uint8Array): number {
  // The words of the buffer that the bytes fill; what stands before and after them is looked at byte by byte.
  const start = (4 - (bytes.byteOffset % 4)) % 4
  const wordCount = Math.max(0, (bytes.length - start) >> 2)
  const words = wordCount > 0 ? new Uint32Array(bytes.buffer, bytes.byteOffset + start, wordCount) : new Uint32Array()
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

/** Ends early once there are too many. A body that is no JSON may be counted wrong, and is refused for that anyway. */
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

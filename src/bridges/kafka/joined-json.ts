const QUOTE = 0x22
const BACKSLASH = 0x5c

/**
 * Splits a text into the objects and arrays that follow one another in it, with nothing, white space or
 * commas between, as Confluent's HTTP sink and Fluent Bit's `json_stream` send them. Each is its own text,
 * not parsed yet; undefined when anything else is between them.
 *
 * @param maxValues it ends with the first value beyond, so that the caller sees that there are too many
 */
export function splitJoined(text: string, maxValues: number): string[] | undefined {
  const values: string[] = []
  let depth = 0
  let start = 0
  let isInText = false
  for (let place = 0; place < text.length; place++) {
    const code = text.charCodeAt(place)
    if (isInText) {
      if (code === BACKSLASH) place++
      else if (code === QUOTE) isInText = false
    } else if (isOpening(code)) {
      if (depth++ === 0) start = place
    } else if (depth === 0) {
      if (!isBetween(code)) return undefined
    } else if (code === QUOTE) isInText = true
    else if (isClosing(code) && --depth === 0) {
      values.push(text.slice(start, place + 1))
      if (values.length > maxValues) return values
    }
  }
  return depth === 0 ? values : undefined
}

/** `[` or `{`. The parser of the value distinguishes them. */
const isOpening = (code: number) => code === 0x5b || code === 0x7b
const isClosing = (code: number) => code === 0x5d || code === 0x7d
/** A comma, or white space (RFC 8259, section 2). */
const isBetween = (code: number) =>
  code === 0x2c || code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09

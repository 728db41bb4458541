/** A token or a quoted string of RFC 9110, sections 5.6.2 and 5.6.4. */
const TOKEN = "[!#$%&'*+.^_`|~0-9A-Za-z-]+"
const QUOTED = String.raw`"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"`
const RANGE = new RegExp(
  `[ \\t]*(${TOKEN})/(${TOKEN})((?:[ \\t]*;(?:[ \\t]*${TOKEN}=(?:${TOKEN}|${QUOTED}))?)*)[ \\t]*(?:,|$)`,
  "y",
)
const EMPTY = /[ \t]*(?:,|$)/y
const WEIGHT = /;[ \t]*q=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)[ \t]*(?:;|$)/i

/** Bound of the header; a useful one is far shorter. */
const MAX_CHARACTERS = 1000

interface Range {
  type: string
  subtype: string
  weight: number
}

/**
 * Returns the media type of `offers` that an `Accept` header prefers: by weight, then by the most specific
 * name, then by the order of `offers`. Parameters other than `q` are ignored.
 *
 * @returns undefined when there is no header, none of the offers is acceptable, or the header does not follow
 *   the grammar
 * @see https://www.rfc-editor.org/rfc/rfc9110#section-12.5.1
 */
export function preferredType<Offer extends string>(
  header: string | undefined,
  offers: readonly Offer[],
): Offer | undefined {
  const ranges = readRanges(header)
  let best: { offer: Offer; weight: number; exactness: number } | undefined
  for (const offer of offers) {
    const [range] = ranges
      .filter((one) => matches(one, offer))
      .sort((one, other) => exactnessOf(other) - exactnessOf(one))
    if (!range || range.weight === 0) continue
    const { weight } = range
    const exactness = exactnessOf(range)
    if (!best || weight > best.weight || (weight === best.weight && exactness > best.exactness))
      best = { offer, weight, exactness }
  }
  return best?.offer
}

function readRanges(header = ""): Range[] {
  const ranges: Range[] = []
  if (header.length > MAX_CHARACTERS) return ranges
  for (let place = 0; place < header.length; ) {
    EMPTY.lastIndex = RANGE.lastIndex = place
    if (EMPTY.test(header)) {
      place = EMPTY.lastIndex
      continue
    }
    const found = RANGE.exec(header)
    if (!found) return []
    place = RANGE.lastIndex
    const [, type = "", subtype = "", parameters = ""] = found
    ranges.push({
      type: type.toLowerCase(),
      subtype: subtype.toLowerCase(),
      weight: Number(WEIGHT.exec(parameters)?.[1] ?? 1),
    })
  }
  return ranges
}

function matches({ type, subtype }: Range, offer: string): boolean {
  if (type === "*") return subtype === "*"
  return offer === `${type}/${subtype}` || (subtype === "*" && offer.startsWith(`${type}/`))
}

const exactnessOf = ({ type, subtype }: Range) => (type === "*" ? 0 : subtype === "*" ? 1 : 2)

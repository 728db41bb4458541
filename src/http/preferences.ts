/** A token or a quoted string of RFC 9110, sections 5.6.2 and 5.6.4. */
const TOKEN = "[!#$%&'*+.^_`|~0-9A-Za-z-]+"
const QUOTED = String.raw`"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"`
const VALUE = `(?:${TOKEN}|${QUOTED})`
const PREFERENCE = new RegExp(
  `[ \\t]*(${TOKEN})(?:[ \\t]*=[ \\t]*(${VALUE}))?((?:[ \\t]*;(?:[ \\t]*${TOKEN}(?:[ \\t]*=[ \\t]*${VALUE})?)?)*)[ \\t]*(?:,|$)`,
  "y",
)
const EMPTY = /[ \t]*,/y

/** Bound of the header; a useful one is far shorter. */
const MAX_CHARACTERS = 1000

/**
 * Reads the preferences of a `Prefer` header by their lower-case names; "" for one without a value. The first
 * of each name counts. A header that does not follow the grammar has no preferences: a preference is never
 * required.
 *
 * @see https://www.rfc-editor.org/rfc/rfc7240#section-2
 */
export function readPreferences(header: string | undefined): Map<string, string> {
  const preferences = new Map<string, string>()
  if (header === undefined || header.length > MAX_CHARACTERS) return preferences
  for (let place = 0; place < header.length; ) {
    EMPTY.lastIndex = PREFERENCE.lastIndex = place
    if (EMPTY.test(header)) {
      place = EMPTY.lastIndex
      continue
    }
    const found = PREFERENCE.exec(header)
    if (!found) return /^[ \t]*$/.test(header.slice(place)) ? preferences : new Map()
    place = PREFERENCE.lastIndex
    const [, name = "", value = ""] = found
    if (!preferences.has(name.toLowerCase())) preferences.set(name.toLowerCase(), unquoted(value))
  }
  return preferences
}

/** RFC 7240: an empty value is the same as none. */
const unquoted = (value: string) =>
  value.startsWith('"') ? value.slice(1, -1).replace(/\\(.)/g, "$1") : value

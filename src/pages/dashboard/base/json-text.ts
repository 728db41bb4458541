/**
 * JSON as text, so that no digit is lost: `JSON.parse` would round 12345678901234567890.
 *
 * Both functions expect valid JSON, as the service answers it.
 */

const TOKENS = /"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g

/** The members of an object, each with the text of its value. */
export function members(json: string): Map<string, string> {
  const found = new Map<string, string>()
  let depth = 0
  let name: string | undefined
  let start = 0
  const end = (at: number) => {
    if (name !== undefined) found.set(name, json.slice(start, at).trim())
    name = undefined
  }
  for (const { 0: token, index } of json.matchAll(TOKENS)) {
    if (token === "}" || token === "]") depth--
    if (depth === 0 || (depth === 1 && token === ",")) end(index)
    else if (depth === 1 && token === ":") start = index + 1
    else if (depth === 1 && name === undefined && token.startsWith('"')) name = JSON.parse(token) as string
    if (token === "{" || token === "[") depth++
  }
  return found
}

/** The same JSON with one member or element on each line. */
export function indented(json: string): string {
  let depth = 0
  let text = ""
  let last = ""
  const newLine = () => `\n${"  ".repeat(depth)}`
  for (const [token] of json.matchAll(TOKENS)) {
    const closes = token === "}" || token === "]"
    if (closes) depth--
    if (last === "{" || last === "[") text += closes ? "" : newLine()
    else if (closes || last === ",") text += newLine()
    text += token === ":" ? ": " : token
    if (token === "{" || token === "[") depth++
    last = token
  }
  return text
}

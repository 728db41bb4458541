/** The local Analytics Engine cannot answer this query. The message is one sentence for the sender. */
export class RefusedQuery extends Error {}

const position = (at: number) => `(at character ${at + 1})`

/** The error for a word or sign that the local dialect does not have, or does not have at this position. */
export const unknown = (what: string, at: number) =>
  new RefusedQuery(`The local Analytics Engine does not know ${what} ${position(at)}.`)

/** The error for a known word that is used in an unsupported way. `sentence` has no full stop. */
export const refused = (sentence: string, at: number) => new RefusedQuery(`${sentence} ${position(at)}.`)

export interface Token {
  kind: "word" | "number" | "text" | "sign" | "end"
  /** The token as written; a text without its quotes. */
  text: string
  /** Where the token begins, in UTF-16 units from 0. */
  at: number
}

const WHITESPACE = /\s+/y
const WORD = /[A-Za-z_][A-Za-z0-9_]*/y
const NUMBER = /\d+(\.\d+)?([eE][+-]?\d+)?/y
const TEXT = /'((?:[^'\\]|'')*)'/y
const SIGN = /!=|<>|<=|>=|[()+\-*/,=<>]/y
const COMMENT = /--|\/\*/y

/**
 * Several times what the longest query of the metrics has. Each sign of `1 + 1 + ...` nests one level, and
 * each level takes stack.
 */
const MAX_TOKENS = 2000

/** Splits a query into words, numbers, texts and signs, and adds one `end`. */
export function tokenize(query: string): Token[] {
  const tokens: Token[] = []
  let at = 0
  const match = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at
    return pattern.exec(query)
  }
  while (at < query.length) {
    const space = match(WHITESPACE)
    if (space) {
      at += space[0].length
      continue
    }
    const comment = match(COMMENT)
    if (comment) throw unknown(`comments such as ${comment[0]}`, at)
    const token = readToken(match, at)
    if (!token) throw unexpectedCharacter(query, at)
    if (tokens.length === MAX_TOKENS)
      throw refused(`The query has more than ${MAX_TOKENS} words and signs`, at)
    tokens.push(token)
    at += token.length
  }
  tokens.push({ kind: "end", text: "", at })
  return tokens
}

function readToken(
  match: (pattern: RegExp) => RegExpExecArray | null,
  at: number,
): (Token & { length: number }) | undefined {
  for (const [kind, pattern] of [
    ["word", WORD] as const,
    ["number", NUMBER] as const,
    ["sign", SIGN] as const,
  ]) {
    const found = match(pattern)
    if (found) return { kind, text: found[0], at, length: found[0].length }
  }
  const text = match(TEXT)
  if (text) return { kind: "text", text: (text[1] ?? "").replaceAll("''", "'"), at, length: text[0].length }
}

function unexpectedCharacter(query: string, at: number): RefusedQuery {
  const character = String.fromCodePoint(query.codePointAt(at) ?? 0)
  // ClickHouse reads a backslash as an escape; the local dialect does not support escapes.
  if (character === "'")
    return /^'(?:[^'\\]|'')*\\/.test(query.slice(at))
      ? unknown("a backslash in a text", at)
      : refused("A text has no closing quote", at)
  return unknown(character, at)
}

import { type RefusedQuery, refused, type Token, tokenize, unknown } from "./tokens.ts"

type ArithmeticSign = "+" | "-" | "*" | "/"
type ComparisonSign = "=" | "!=" | "<" | "<=" | ">" | ">="
type Unit = "SECOND" | "MINUTE" | "HOUR" | "DAY"

/** `at`: the position in the query, for error messages. */
export type Expression = { at: number } & (
  | { kind: "number"; text: string }
  | { kind: "text"; value: string }
  | { kind: "interval"; seconds: number; unit: Unit }
  | { kind: "name"; name: string }
  | { kind: "negative" | "not"; operand: Expression }
  | { kind: "arithmetic"; sign: ArithmeticSign; left: Expression; right: Expression }
  | { kind: "comparison"; sign: ComparisonSign; left: Expression; right: Expression }
  | { kind: "logic"; sign: "and" | "or"; left: Expression; right: Expression }
  | { kind: "in"; operand: Expression; list: Expression[]; negated: boolean }
  | Call
)

/**
 * `parameters` are in the first parentheses of a call with two lists, such as
 * `quantileExactWeighted(0.5)(...)`.
 */
export type Call = {
  kind: "call"
  at: number
  name: string
  parameters: Expression[] | undefined
  arguments: Expression[]
}

export interface Select {
  items: { expression: Expression; name: string; alias: boolean; at: number }[]
  table: { name: string; at: number }
  where: Expression | undefined
  groupBy: Expression[]
  orderBy: { expression: Expression; descending: boolean }[]
  limit: number | undefined
}

const SECONDS: Record<Unit, number> = { SECOND: 1, MINUTE: 60, HOUR: 3600, DAY: 86_400 }

/** Words that cannot name a column, so that a misplaced keyword is reported as such. */
const RESERVED = new Set(
  "SELECT FROM WHERE GROUP BY ORDER LIMIT FORMAT AND OR NOT IN AS ASC DESC INTERVAL DISTINCT CASE BETWEEN LIKE IS NULL".split(
    " ",
  ),
)

/** Bound of nesting: deeper than a person writes, and far below the limit of the stack. */
const MAX_DEPTH = 100

/** Parses a query. Throws `RefusedQuery` at the first word that the local dialect does not have. */
export function parse(query: string): Select {
  return new Parser(query, tokenize(query)).select()
}

class Parser {
  private readonly query: string
  private readonly tokens: Token[]
  private next = 0
  private depth = 0

  constructor(query: string, tokens: Token[]) {
    this.query = query
    this.tokens = tokens
  }

  select(): Select {
    this.expect("SELECT")
    const items = this.list(() => this.item())
    this.expect("FROM")
    const table = this.name()
    const where = this.accept("WHERE") ? this.expression() : undefined
    const groupBy = this.accept("GROUP") ? this.by(() => this.expression()) : []
    const orderBy = this.accept("ORDER") ? this.by(() => this.ordering()) : []
    const limit = this.accept("LIMIT") ? this.limit() : undefined
    if (this.accept("FORMAT")) this.expect("JSON")
    if (this.token.kind !== "end") throw this.unexpected()
    return { items, table, where, groupBy, orderBy, limit }
  }

  private item() {
    const { at } = this.token
    const first = this.next
    const expression = this.expression()
    if (this.accept("AS")) return { expression, name: this.name().name, alias: true, at }
    // A column without an alias has its text as name.
    const end = this.tokens[this.next]?.at ?? this.query.length
    return { expression, name: this.query.slice(this.tokens[first]?.at, end).trim(), alias: false, at }
  }

  private ordering() {
    const expression = this.expression()
    if (expression.kind !== "name")
      throw refused(
        "ORDER BY takes names. Name this expression with AS in SELECT, and order by that name",
        expression.at,
      )
    const descending = this.accept("DESC") !== undefined
    if (!descending) this.accept("ASC")
    return { expression, descending }
  }

  private limit(): number {
    const { kind, text, at } = this.take()
    if (kind !== "number" || !/^\d{1,9}$/.test(text)) throw refused("LIMIT takes a whole number", at)
    return Number(text)
  }

  private by<Item>(read: () => Item): Item[] {
    this.expect("BY")
    return this.list(read)
  }

  private list<Item>(read: () => Item): Item[] {
    const items = [read()]
    while (this.accept(",")) items.push(read())
    return items
  }

  private name(): { name: string; at: number } {
    if (this.token.kind !== "word" || RESERVED.has(this.token.text.toUpperCase())) throw this.unexpected()
    const { text, at } = this.take()
    return { name: text, at }
  }

  private expression(): Expression {
    return this.nested(() => this.disjunction())
  }

  private disjunction(): Expression {
    let left = this.conjunction()
    for (let sign = this.accept("OR"); sign; sign = this.accept("OR"))
      left = { kind: "logic", sign: "or", left, right: this.conjunction(), at: sign.at }
    return left
  }

  private conjunction(): Expression {
    let left = this.negation()
    for (let sign = this.accept("AND"); sign; sign = this.accept("AND"))
      left = { kind: "logic", sign: "and", left, right: this.negation(), at: sign.at }
    return left
  }

  private negation(): Expression {
    const not = this.accept("NOT")
    return not ? { kind: "not", operand: this.nested(() => this.negation()), at: not.at } : this.comparison()
  }

  private comparison(): Expression {
    const left = this.sum()
    const sign = this.accept("=", "!=", "<>", "<=", ">=", "<", ">")
    if (sign) {
      const name = sign.text === "<>" ? "!=" : (sign.text as ComparisonSign)
      return { kind: "comparison", sign: name, left, right: this.sum(), at: sign.at }
    }
    const not = this.accept("NOT")
    const within = not ? this.expect("IN") : this.accept("IN")
    if (!within) return left
    this.expect("(")
    const list = this.list(() => this.expression())
    this.expect(")")
    return { kind: "in", operand: left, list, negated: not !== undefined, at: within.at }
  }

  private sum(): Expression {
    let left = this.product()
    for (let sign = this.accept("+", "-"); sign; sign = this.accept("+", "-"))
      left = { kind: "arithmetic", sign: sign.text as "+" | "-", left, right: this.product(), at: sign.at }
    return left
  }

  private product(): Expression {
    let left = this.signed()
    for (let sign = this.accept("*", "/"); sign; sign = this.accept("*", "/"))
      left = { kind: "arithmetic", sign: sign.text as "*" | "/", left, right: this.signed(), at: sign.at }
    return left
  }

  private signed(): Expression {
    const minus = this.accept("-")
    return minus
      ? { kind: "negative", operand: this.nested(() => this.signed()), at: minus.at }
      : this.primary()
  }

  private nested(read: () => Expression): Expression {
    if (++this.depth > MAX_DEPTH)
      throw refused(`The query nests deeper than ${MAX_DEPTH} levels`, this.token.at)
    const expression = read()
    this.depth--
    return expression
  }

  private primary(): Expression {
    const { kind, text, at } = this.token
    if (kind === "number") return { kind, text: this.take().text, at }
    if (kind === "text") return { kind, value: this.take().text, at }
    if (this.accept("(")) {
      const expression = this.expression()
      this.expect(")")
      return expression
    }
    if (this.accept("INTERVAL")) return this.interval(at)
    this.name()
    if (!this.accept("(")) return { kind: "name", name: text, at }
    const first = this.callArguments()
    if (!this.accept("(")) return { kind: "call", name: text, parameters: undefined, arguments: first, at }
    return { kind: "call", name: text, parameters: first, arguments: this.callArguments(), at }
  }

  private callArguments(): Expression[] {
    if (this.accept(")")) return []
    const list = this.list(() => this.expression())
    this.expect(")")
    return list
  }

  private interval(at: number): Expression {
    const count = this.take()
    if (count.kind !== "text" || !/^[1-9]\d{0,8}$/.test(count.text))
      throw refused("INTERVAL takes a whole number in quotes, such as INTERVAL '5' MINUTE", count.at)
    const word = this.take()
    const unit = (Object.keys(SECONDS) as Unit[]).find((name) => name === word.text.toUpperCase())
    if (!unit)
      throw word.kind === "end"
        ? refused("The query ends within INTERVAL", word.at)
        : unknown(`the interval ${word.text}`, word.at)
    return { kind: "interval", seconds: Number(count.text) * SECONDS[unit], unit, at }
  }

  private get token(): Token {
    return this.tokens[this.next] as Token
  }

  private take(): Token {
    const { token } = this
    if (token.kind !== "end") this.next++
    return token
  }

  /** Takes the next token when it is one of these words or signs. */
  private accept(...texts: string[]): Token | undefined {
    const { kind, text } = this.token
    return (kind === "word" || kind === "sign") && texts.includes(text.toUpperCase())
      ? this.take()
      : undefined
  }

  private expect(text: string): Token {
    const token = this.accept(text)
    if (!token)
      throw this.token.kind === "end"
        ? refused(`The query ends where ${text} is missing`, this.token.at)
        : this.unexpected()
    return token
  }

  private unexpected(): RefusedQuery {
    const { kind, text, at } = this.token
    if (kind === "end") return refused("The query ends too early", at)
    return unknown(kind === "text" ? `a text here, '${text}'` : kind === "word" ? text : `${text} here`, at)
  }
}

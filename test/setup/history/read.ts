import { createReadStream } from "node:fs"
import type {
  Answer,
  Call,
  DeadLetter,
  End,
  Invoke,
  LedgerRow,
  Line,
  Operation,
  Result,
  Row,
  SentSignal,
  Subject,
  Subscribed,
} from "./lines.ts"

/** The most signals, sent and stored, that are held in memory: about 1.5 GB. */
const MAX_SIGNALS = 4_000_000

/** A request and its answer. Without one, `answeredAt` is infinite. */
export interface Exchange extends Omit<Invoke, "type" | "n" | "at"> {
  begunAt: number
  answeredAt: number
  answer: Answer | undefined
}

/**
 * What a client wanted to be stored: one exchange, or all that carry the same key and the same body.
 * - `answered`: an answer says what was stored, or that it will be
 * - `refused`: an answer says that nothing was stored
 * - `doubt`: no answer says whether it was stored
 */
export interface Write {
  operation: Operation
  key: string | undefined
  hash: string | undefined
  signals: readonly SentSignal[]
  allOrNothing: boolean
  attempts: Exchange[]
  begunAt: number
  /** The time of the first answer that acknowledges it; infinite without one. */
  answeredAt: number
  /** The time of the first answer with the results; infinite without one. */
  storedAt: number
  outcome: "answered" | "refused" | "doubt"
  transaction: string | undefined
  results: readonly Result[] | undefined
  counts: Answer["counts"]
}

export interface Erasure {
  id: string | undefined
  subject: Subject
  begunAt: number
  answeredAt: number
  /** Since when an answer or the table says that it is done. */
  doneAt: number
}

/** A history as the rules read it. */
export interface History {
  writes: readonly Write[]
  erasures: readonly Erasure[]
  /** The exchanges of each kind of read, in the order of their beginning. */
  reads: ReadonlyMap<Operation, readonly Exchange[]>
  rows: readonly Row[]
  ledger: ReadonlyMap<string, LedgerRow>
  ledgerLines: readonly LedgerRow[]
  deadHashes: ReadonlySet<string>
  calls: readonly Call[]
  subscribed: readonly Subscribed[]
  /** What stored signals that the history does not know one by one: only Slack, or anything. */
  unknownWrites: "none" | "slack" | "any"
  /** Absent when the run was cut off. */
  end: End | undefined
  lines: number
}

/** More signals than the memory is meant for. */
export class HistoryTooLarge extends Error {}

/**
 * Reads a history from lines of JSON.
 *
 * @throws {SyntaxError} a line is not JSON
 * @throws {HistoryTooLarge} more than `maxSignals` signals were sent and stored
 */
export async function readHistory(
  lines: AsyncIterable<string> | Iterable<string>,
  maxSignals = MAX_SIGNALS,
): Promise<History> {
  const exchanges = new Map<number, Exchange>()
  const tables = {
    rows: [] as Row[],
    ledgerLines: [] as LedgerRow[],
    dead: [] as DeadLetter[],
    calls: [] as Call[],
    subscribed: [] as Subscribed[],
    erased: new Map<string, string>(),
    end: undefined as End | undefined,
  }
  let [count, signals] = [0, 0]
  const intern = interner()
  for await (const text of lines) {
    const line = JSON.parse(text) as Line
    count++
    if (line.type === "invoke") {
      const { type: _, n, at, ...request } = line
      for (const signal of line.signals ?? []) internSignal(signal, intern)
      signals += line.signals?.length ?? 0
      exchanges.set(n, { ...request, begunAt: at, answeredAt: Number.POSITIVE_INFINITY, answer: undefined })
    } else if (line.type === "answer") {
      const exchange = exchanges.get(line.n)
      if (exchange && line.status !== 0) Object.assign(exchange, { answer: line, answeredAt: line.at })
    } else if (line.type === "row") {
      internSignal(line, intern)
      line.transaction = intern(line.transaction)
      signals++
      tables.rows.push(line)
    } else if (line.type === "entered") tables.ledgerLines.push(line)
    else if (line.type === "dead letter") tables.dead.push(line)
    else if (line.type === "call") tables.calls.push(line)
    else if (line.type === "subscribed") tables.subscribed.push(line)
    else if (line.type === "erased") tables.erased.set(line.id, line.state)
    else tables.end = line
    if (signals > maxSignals)
      throw new HistoryTooLarge(
        `The history has more than ${maxSignals.toLocaleString("en-US")} signals, which is more than the checker holds in memory. Record a shorter run.`,
      )
  }
  return assembled([...exchanges.values()], tables, count)
}

/** Reads a history from a file. */
export const readHistoryFile = (path: string): Promise<History> => readHistory(linesOf(path))

/** The lines of a file. Node's own reader of lines would also end one at U+2028, which a key may have. */
async function* linesOf(path: string): AsyncGenerator<string> {
  let rest = ""
  for await (const chunk of createReadStream(path, "utf8")) {
    const lines = (rest + String(chunk)).split("\n")
    rest = lines.pop() ?? ""
    yield* lines
  }
  if (rest !== "") yield rest
}

/** Gives equal texts one place in memory. */
function interner(): (text: string) => string {
  const known = new Map<string, string>()
  return (text) => {
    const first = known.get(text)
    if (first !== undefined) return first
    known.set(text, text)
    return text
  }
}

function internSignal(
  signal: { hash: string; conversation: string; user?: string; dedupeKey?: string },
  intern: (text: string) => string,
): void {
  signal.hash = intern(signal.hash)
  signal.conversation = intern(signal.conversation)
  if (signal.user !== undefined) signal.user = intern(signal.user)
  if (signal.dedupeKey !== undefined) signal.dedupeKey = intern(signal.dedupeKey)
}

const WRITES = new Set<Operation>(["batch", "single", "kafka"])

function unknownWritesOf(exchanges: readonly Exchange[]): History["unknownWrites"] {
  if (exchanges.some(({ operation, signals }) => WRITES.has(operation) && signals === undefined)) return "any"
  return exchanges.some(({ operation }) => operation === "slack") ? "slack" : "none"
}

function assembled(
  exchanges: readonly Exchange[],
  tables: {
    rows: Row[]
    ledgerLines: LedgerRow[]
    dead: DeadLetter[]
    calls: Call[]
    subscribed: Subscribed[]
    erased: Map<string, string>
    end: End | undefined
  },
  lines: number,
): History {
  const { dead, erased, ...rest } = tables
  return {
    ...rest,
    writes: together(exchanges.filter(({ operation }) => WRITES.has(operation))).map(writeOf),
    erasures: erasuresOf(exchanges, erased),
    reads: Map.groupBy(exchanges, ({ operation }) => operation),
    ledger: new Map(rest.ledgerLines.map((row) => [row.transaction, row])),
    deadHashes: new Set(dead.flatMap(({ hashes }) => hashes)),
    unknownWrites: unknownWritesOf(exchanges),
    lines,
  }
}

/** The attempts at one write: those with the same key and the same body. Without a key each is its own. */
function together(exchanges: readonly Exchange[]): Exchange[][] {
  let unkeyed = 0
  return [
    ...Map.groupBy(exchanges, ({ operation, key, hash }) =>
      key === undefined ? ++unkeyed : `${operation} ${key} ${hash}`,
    ).values(),
  ]
}

/** Statuses that are given before anybody looks whether the key was used. */
const UNSEEN = new Set([401, 403, 408, 413, 415, 429])

function writeOf(attempts: Exchange[]): Write {
  const [first] = attempts as [Exchange]
  const success = attempts.find(({ answer }) => answer !== undefined && answer.status < 300)
  const full = attempts.find(({ answer }) => answer?.results !== undefined)
  const isInDoubt = ({ answer }: Exchange) =>
    answer === undefined || (answer.status >= 500 && answer.transaction !== undefined)
  const doubted = attempts.findLastIndex(isInDoubt)
  const isSettled = attempts
    .slice(doubted + 1)
    .some(({ answer }) => answer && answer.status >= 400 && answer.status < 500 && !UNSEEN.has(answer.status))
  const doubt = doubted >= 0 && !isSettled
  return {
    operation: first.operation,
    key: first.key,
    hash: first.hash,
    signals: first.signals ?? [],
    allOrNothing: first.allOrNothing === true,
    attempts,
    begunAt: first.begunAt,
    answeredAt: success?.answeredAt ?? Number.POSITIVE_INFINITY,
    storedAt: full?.answeredAt ?? Number.POSITIVE_INFINITY,
    outcome: success ? "answered" : doubt ? "doubt" : "refused",
    transaction: success?.answer?.transaction,
    results: full?.answer?.results,
    counts: full?.answer?.counts,
  }
}

function erasuresOf(exchanges: readonly Exchange[], erased: ReadonlyMap<string, string>): Erasure[] {
  const done = new Map<string, number>()
  for (const { answer, operation } of exchanges) {
    if (operation !== "erasure" && operation !== "erasure state") continue
    if (answer?.state !== "done" || answer.transaction === undefined) continue
    done.set(answer.transaction, Math.min(answer.at, done.get(answer.transaction) ?? answer.at))
  }
  // The tables are read after everything else.
  for (const [id, state] of erased) if (state === "done" && !done.has(id)) done.set(id, Number.MAX_VALUE)
  return together(exchanges.filter(({ operation }) => operation === "erasure")).map((attempts) => {
    const [first] = attempts as [Exchange]
    const success = attempts.find(({ answer }) => answer !== undefined && answer.status < 300)
    const id = success?.answer?.transaction
    return {
      id,
      subject: first.subject ?? { kind: "user_id", value: "" },
      begunAt: first.begunAt,
      answeredAt: success?.answeredAt ?? Number.POSITIVE_INFINITY,
      doneAt: (id !== undefined && done.get(id)) || Number.POSITIVE_INFINITY,
    }
  })
}

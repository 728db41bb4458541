import { Erasures } from "../erased.ts"
import type { Row, SentSignal } from "../lines.ts"
import type { History, Write } from "../read.ts"

/**
 * Each signal is stored as its answer says: once, or not at all. Of a write in doubt all is stored, or
 * nothing. Nothing else is stored.
 */
export function storedOnce(history: History): string[] {
  const tables = new Tables(history)
  return [...history.writes.flatMap((write) => wrongWrite(write, tables)), ...unsentRows(history, tables)]
}

class Tables {
  readonly rowsByHash: Map<string, Row[]>
  readonly rowById: Map<number, Row>
  readonly rowsByTransaction: Map<string, Row[]>
  /** How many writes that were not refused have sent this signal. */
  readonly sent = new Map<string, number>()
  readonly erasures: Erasures
  /** Keys that may be held by another signal. */
  readonly keys = new Map<string, number>()
  readonly history: History

  constructor(history: History) {
    this.history = history
    this.erasures = new Erasures(history)
    this.rowsByHash = Map.groupBy(history.rows, ({ hash }) => hash)
    this.rowById = new Map(history.rows.map((row) => [row.id, row]))
    this.rowsByTransaction = Map.groupBy(history.rows, ({ transaction }) => transaction)
    for (const { outcome, signals } of history.writes) {
      if (outcome === "refused") continue
      for (const { hash, dedupeKey } of signals) {
        this.sent.set(hash, (this.sent.get(hash) ?? 0) + 1)
        if (dedupeKey !== undefined) this.keys.set(dedupeKey, (this.keys.get(dedupeKey) ?? 0) + 1)
      }
    }
  }

  isUnique({ hash }: SentSignal): boolean {
    return (this.sent.get(hash) ?? 0) <= 1
  }

  /** Whether another signal may hold its key. */
  mayBeDuplicate({ dedupeKey }: SentSignal): boolean {
    return dedupeKey !== undefined && (this.keys.get(dedupeKey) ?? 0) > 1
  }
}

function wrongWrite(write: Write, tables: Tables): string[] {
  if (write.outcome === "refused") return refusedAndStored(write, tables)
  if (write.outcome === "doubt") return torn(write, tables)
  if (write.results) return wrongResults(write, write.results, tables)
  // What is acknowledged before it is stored.
  return write.allOrNothing ? torn(write, tables) : acceptedAndLost(write, tables)
}

const named = ({ operation, key, transaction, attempts }: Write) =>
  `${operation} of ${attempts[0]?.client}${key === undefined ? "" : ` under the key ${key}`}` +
  `${transaction === undefined ? "" : ` (${transaction})`}`

function refusedAndStored(write: Write, tables: Tables): string[] {
  return write.signals
    .filter(({ hash }) => (tables.rowsByHash.get(hash)?.length ?? 0) > (tables.sent.get(hash) ?? 0))
    .map(({ hash }) => `${named(write)}: refused, and its signal ${hash} is stored`)
}

function wrongResults(write: Write, results: NonNullable<Write["results"]>, tables: Tables): string[] {
  const found: string[] = []
  const told = new Set<number>()
  for (const [index, [is, id]] of results.entries()) {
    const signal = write.signals[index]
    if (is !== "stored") continue
    told.add(id)
    if (!signal) continue
    const row = tables.rowById.get(id)
    const erased = tables.erasures.outcome(signal, write, id)
    if (!row && erased === "no") found.push(`${named(write)}: the signal ${id} was stored, and is gone`)
    if (row && row.hash !== signal.hash)
      found.push(`${named(write)}: the row ${id} has another signal than the answer says`)
  }
  for (const { id } of tables.rowsByTransaction.get(write.transaction ?? "") ?? [])
    if (!told.has(id)) found.push(`${named(write)}: the row ${id} is stored, and its answer does not name it`)
  return found
}

/** The signals that must be stored if any is. */
const certain = (write: Write, tables: Tables) =>
  write.signals.filter(
    (signal) =>
      !signal.mayFail && !tables.mayBeDuplicate(signal) && tables.erasures.outcome(signal, write) === "no",
  )

function torn(write: Write, tables: Tables): string[] {
  const signals = certain(write, tables).filter((signal) => tables.isUnique(signal))
  const stored = signals.filter(({ hash }) => tables.rowsByHash.has(hash)).length
  return stored === 0 || stored === signals.length
    ? []
    : [`${named(write)}: ${stored} of ${signals.length} signals are stored`]
}

function acceptedAndLost(write: Write, tables: Tables): string[] {
  const { history, rowsByHash } = tables
  if (history.ledger.get(write.transaction ?? "")?.state === "failed") return []
  return certain(write, tables)
    .filter(({ hash }) => !rowsByHash.has(hash) && !history.deadHashes.has(hash))
    .map(({ hash }) => `${named(write)}: acknowledged, and its signal ${hash} is nowhere`)
}

/** Rows that nobody sent, or that are there more often than they were sent. */
function unsentRows({ unknownWrites }: History, { rowsByHash, sent }: Tables): string[] {
  const found: string[] = []
  if (unknownWrites === "any") return found
  for (const [hash, rows] of rowsByHash) {
    const isBridged =
      unknownWrites === "slack" && rows.every(({ dedupeKey }) => dedupeKey?.startsWith("slack:"))
    const times = sent.get(hash) ?? 0
    if (isBridged || rows.length <= times) continue
    const [row] = rows as [Row]
    found.push(
      `the signal ${hash} (row ${row.id} of ${row.transaction}) is stored ${rows.length} times, and was sent ${times} times`,
    )
  }
  return found
}

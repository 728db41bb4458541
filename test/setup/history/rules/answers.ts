import type { Answer } from "../lines.ts"
import type { Exchange, History, Write } from "../read.ts"

/** The ledger has each batch that an answer names, with its counts, from then on for ever. */
export function ledgerKeeps(history: History): string[] {
  const found: string[] = []
  for (const { outcome, transaction, counts, operation, results } of history.writes) {
    if (outcome !== "answered" || transaction === undefined) continue
    const row = history.ledger.get(transaction)
    if (!row && operation === "single" && results?.[0]?.[0] === "duplicate") continue
    if (!row) found.push(`${transaction} was acknowledged, and the ledger does not have it`)
    else if (row.state === "queued") found.push(`${transaction} is still queued`)
    else if (counts && (row.successful !== counts[0] || row.failed !== counts[1]))
      found.push(`${transaction}: the answer says ${counts}, the ledger ${row.successful},${row.failed}`)
  }
  for (const { transaction, id } of history.rows)
    if (!history.ledger.has(transaction))
      found.push(`the row ${id} is of ${transaction}, which the ledger does not have`)
  return [...found, ...takenBack(history)]
}

/** What the ledger said before is what it says later: to answers, to reads, and in its table. */
function takenBack({ writes, reads, ledger }: History): string[] {
  const known = new Map<string, { at: number; counts: Answer["counts"] }>()
  const note = (transaction: string | undefined, at: number, counts: Answer["counts"]) => {
    if (transaction === undefined) return
    const earlier = known.get(transaction)
    if (!earlier || at < earlier.at) known.set(transaction, { at, counts: counts ?? earlier?.counts })
  }
  for (const { transaction, storedAt, counts } of writes)
    if (storedAt < Number.POSITIVE_INFINITY) note(transaction, storedAt, counts)
  const asked = reads.get("ledger") ?? []
  for (const { answer } of asked)
    if (answer?.status === 200 && answer.state !== "queued")
      note(answer.transaction, answer.at, answer.counts)
  return [
    ...asked.flatMap((read) => wrongRead(read, known)),
    ...[...known].flatMap(([transaction, { counts }]) => {
      const row = ledger.get(transaction)
      const isSame = row && (!counts || (row.successful === counts[0] && row.failed === counts[1]))
      return isSame ? [] : [`${transaction}: the ledger said ${counts ?? "that it is stored"} before`]
    }),
  ]
}

function wrongRead(
  { of = "", begunAt, answer }: Exchange,
  known: ReadonlyMap<string, { at: number; counts: Answer["counts"] }>,
): string[] {
  const earlier = known.get(of)
  if (!answer || !earlier || earlier.at >= begunAt) return []
  if (answer.status === 404) return [`${of} was stored, and a later read of the ledger does not find it`]
  if (answer.status !== 200 || !earlier.counts || !answer.counts) return []
  return String(answer.counts) === String(earlier.counts)
    ? []
    : [`${of}: the ledger said ${earlier.counts}, and later ${answer.counts}`]
}

/** A key has one answer: the same batch with the same results, for one body. */
export function oneAnswerAKey({ writes, ledger, ledgerLines }: History): string[] {
  const found: string[] = []
  const keyed = writes.filter(({ key, operation }) => key !== undefined && operation !== "kafka")
  for (const [key, same] of Map.groupBy(keyed, ({ key }) => key)) {
    // Of what was acknowledged for the queue, the ledger may say later that another request had its key.
    const stored = same.filter(
      ({ outcome, transaction = "" }) =>
        outcome === "answered" && ledger.get(transaction)?.state !== "failed",
    )
    if (stored.length > 1) found.push(`the key ${key} was answered for ${stored.length} bodies`)
    for (const write of stored) found.push(...changedAnswers(write))
  }
  for (const [key, rows] of Map.groupBy(
    ledgerLines.filter((row) => row.key !== undefined),
    (row) => row.key,
  ))
    if (rows.length > 1) found.push(`the key ${key} has ${rows.length} rows of the ledger`)
  return found
}

function changedAnswers({ key, attempts }: Write): string[] {
  const answers = attempts.flatMap(({ answer }) => (answer && answer.status < 300 ? [answer] : []))
  const transactions = new Set(answers.flatMap(({ transaction }) => transaction ?? []))
  const results = new Set(answers.flatMap((one) => (one.results ? [idsOf(one)] : [])))
  return transactions.size > 1 || results.size > 1 ? [`the key ${key} has several answers`] : []
}

const idsOf = ({ results = [] }: Answer) => JSON.stringify(results.map(([is, id]) => [is === "failed", id]))

/** An id names one signal. Ids rise in a batch, and to the next write that begins after its answer. */
export function idsInOrder({ writes, rows }: History): string[] {
  const found: string[] = []
  const ids = new Set<number>()
  for (const { id } of rows) {
    if (ids.has(id)) found.push(`two rows have the id ${id}`)
    ids.add(id)
  }
  const owners = new Map<number, Write>()
  const timed: { begunAt: number; storedAt: number; first: number; last: number; write: Write }[] = []
  for (const write of writes) {
    const own = (write.results ?? []).flatMap((result) => (result[0] === "stored" ? [result[1]] : []))
    for (const [index, id] of own.entries()) {
      const owner = owners.get(id)
      if (owner) found.push(`the id ${id} was given to ${nameOf(owner)} and to ${nameOf(write)}`)
      owners.set(id, write)
      if (id <= (own[index - 1] ?? 0)) found.push(`${nameOf(write)}: the id ${id} does not rise`)
    }
    const [first, last] = [own[0], own.at(-1)]
    if (first !== undefined && last !== undefined) timed.push({ ...write, first, last, write })
  }
  return [...found, ...overtaken(timed)]
}

const nameOf = ({ transaction, attempts }: Write) => transaction ?? `a request of ${attempts[0]?.client}`

function overtaken(
  timed: { begunAt: number; storedAt: number; first: number; last: number; write: Write }[],
): string[] {
  const found: string[] = []
  const ended = timed.toSorted((a, b) => a.storedAt - b.storedAt)
  let [next, highest] = [0, 0]
  for (const { begunAt, first, write } of timed.toSorted((a, b) => a.begunAt - b.begunAt)) {
    for (; (ended[next]?.storedAt ?? Number.POSITIVE_INFINITY) < begunAt; next++)
      highest = Math.max(highest, ended[next]?.last ?? 0)
    if (first < highest) found.push(`${nameOf(write)} has the id ${first}, and one before it ${highest}`)
  }
  return found
}

/** A dedupe key names one signal for ever. */
export function oneIdADedupeKey({ writes, rows }: History): string[] {
  const found: string[] = []
  const ids = new Map<string, number>()
  const note = (key: string, id: number, what: string) => {
    const known = ids.get(key)
    if (known !== undefined && known !== id)
      found.push(`the dedupe key ${key} named ${known}, and ${id} ${what}`)
    else ids.set(key, id)
  }
  for (const { results, signals } of writes)
    for (const [index, [is, id]] of results?.entries() ?? []) {
      const key = signals[index]?.dedupeKey
      if (key !== undefined && is !== "failed" && id > 0) note(key, id, "in an answer")
    }
  for (const { dedupeKey, id } of rows) if (dedupeKey !== undefined) note(dedupeKey, id, "in the table")
  return found
}

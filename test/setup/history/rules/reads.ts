import { Erasures, isBefore } from "../erased.ts"
import type { SentSignal } from "../lines.ts"
import type { Exchange, History, Write } from "../read.ts"

interface Known {
  id: number
  signal: SentSignal
  write: Write
}

/** Signals that an answer says are stored, with their ids. */
const knownSignals = ({ writes }: History): Known[] =>
  writes.flatMap((write) =>
    (write.results ?? []).flatMap(([is, id], index): Known[] => {
      const signal = write.signals[index]
      return is === "stored" && signal ? [{ id, signal, write }] : []
    }),
  )

/** The exchanges that read signals, and came to their end. */
const pagesOf = ({ reads }: History): Exchange[] =>
  (["read", "list", "feed"] as const).flatMap((kind) =>
    (reads.get(kind) ?? []).filter(({ answer }) => answer !== undefined),
  )

/**
 * A signal that an answer or another read has shown is found by each read that begins later. A read that
 * overlaps the write proves nothing.
 */
export function visible(history: History): string[] {
  const erasures = new Erasures(history)
  const known = knownSignals(history)
  const byId = new Map(known.map((one) => [one.id, one]))
  const since = new Map(known.map(({ id, write }) => [id, write.storedAt]))
  for (const { answer } of pagesOf(history))
    for (const { id } of answer?.seen ?? [])
      if (answer && byId.has(id))
        since.set(id, Math.min(since.get(id) ?? Number.POSITIVE_INFINITY, answer.at))
  const mustBeSeen = ({ id, signal, write }: Known, begunAt: number) =>
    (since.get(id) ?? Number.POSITIVE_INFINITY) < begunAt && erasures.outcome(signal, write, id) === "no"

  const found: string[] = []
  for (const { of = "", begunAt, answer } of history.reads.get("read") ?? []) {
    const one = byId.get(Number(of))
    if (!one || !answer) continue
    if (answer.status === 404 && mustBeSeen(one, begunAt))
      found.push(`the signal ${of} was stored, and a later read answers 404`)
    if (answer.seen?.some(({ id, hash }) => id !== one.id || hash !== one.signal.hash))
      found.push(`a read of ${of} answers with another signal`)
  }
  const byConversation = Map.groupBy(known, ({ signal }) => signal.conversation)
  for (const { of = "", begunAt, answer } of history.reads.get("list") ?? []) {
    if (!answer?.isEnd) continue
    const seen = new Set(answer.seen?.map(({ id }) => id))
    for (const one of byConversation.get(of) ?? [])
      if (!seen.has(one.id) && mustBeSeen(one, begunAt))
        found.push(`the signal ${one.id} was stored, and a later list of ${of} does not have it`)
  }
  return found
}

/** After an erasure is done, no read and no table has what was accepted before it. */
export function erasedIsGone(history: History): string[] {
  const erasures = new Erasures(history)
  const byId = new Map(knownSignals(history).map((one) => [one.id, one]))
  const doneBefore = ({ id, signal, write }: Known, at: number) =>
    erasures.of(signal, id).some((erasure) => isBefore(write, erasure) && erasure.doneAt < at)
  const found: string[] = []
  for (const { operation, begunAt, answer } of pagesOf(history))
    for (const { id } of answer?.seen ?? []) {
      const one = byId.get(id)
      if (one && doneBefore(one, begunAt))
        found.push(`the signal ${id} was erased, and a ${operation} has it`)
    }
  for (const { id } of history.rows) {
    const one = byId.get(id)
    if (one && doneBefore(one, Number.POSITIVE_INFINITY))
      found.push(`the signal ${id} was erased, and is stored`)
  }
  return found
}

/**
 * A reader of the feed sees each signal once, all readers see one order, and a reader that has come to the
 * end after the last write has seen every row.
 */
export function feedOnce(history: History): string[] {
  const readers = [...Map.groupBy(history.reads.get("feed") ?? [], ({ client }) => client)].map(
    ([client, pages]) => ({ client, pages, ids: idsOf(pages) }),
  )
  const position = feedOrder(history.reads)
  return readers.flatMap(({ client, pages, ids }) => {
    const found: string[] = []
    const seen = new Set<number>()
    let last = -1
    for (const id of ids) {
      if (seen.has(id)) found.push(`${client} has got the signal ${id} twice`)
      seen.add(id)
      const at = position.get(id) ?? last
      if (at < last) found.push(`${client} has got the signal ${id} later than another reader`)
      last = at
    }
    return [...found, ...missing(history, client, pages, seen)]
  })
}

/** Where each signal stands in the order of the feed: that of the reader which has seen the most. */
export function feedOrder(reads: History["reads"]): ReadonlyMap<number, number> {
  const readers = Map.groupBy(reads.get("feed") ?? [], ({ client }) => client)
  const sequences = [...readers.values()].map(idsOf)
  const longest = sequences.reduce<number[]>((best, ids) => (ids.length > best.length ? ids : best), [])
  return new Map(longest.map((id, index) => [id, index]))
}

/** What comes first, without later changes such as a score. */
const idsOf = (pages: readonly Exchange[]) =>
  pages.flatMap(({ answer }) =>
    (answer?.seen ?? []).filter(({ change }) => change === undefined).map(({ id }) => id),
  )

function missing(
  { rows }: History,
  client: string,
  pages: readonly Exchange[],
  seen: ReadonlySet<number>,
): string[] {
  const answered = pages.filter(({ answer }) => answer?.status === 200)
  const last = answered.at(-1)
  // Only a reader that began at the oldest signal, and read to the end while nothing was under way.
  if (answered[0]?.of !== "" || !last?.answer?.isEnd || !last.isQuiet) return []
  return rows.flatMap(({ id }) => (seen.has(id) ? [] : [`${client} has never got the signal ${id}`]))
}

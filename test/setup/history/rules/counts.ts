import { Erasures } from "../erased.ts"
import type { Row } from "../lines.ts"
import type { Exchange, History } from "../read.ts"
import { feedOrder } from "./reads.ts"

/**
 * Statistics equal a recount: exactly, of the table, when nothing was under way; else between what was stored
 * before they were asked for and what was sent until they answered.
 */
export function statisticsRecount(history: History): string[] {
  const asked = (history.reads.get("stats") ?? []).filter(({ answer }) => answer?.stats)
  if (asked.length === 0) return []
  const rows = Map.groupBy(history.rows, ({ conversation }) => conversation)
  const timelines = timelinesOf(history)
  return asked.flatMap((exchange) => {
    const told = new Map(exchange.answer?.stats)
    const conversations = new Set([
      ...told.keys(),
      ...timelines.keys(),
      ...(exchange.isQuiet ? rows.keys() : []),
    ])
    return [...conversations].flatMap((conversation) =>
      wrongCount(exchange, {
        conversation,
        count: told.get(conversation) ?? 0,
        rows: rows.get(conversation) ?? [],
        timeline: timelines.get(conversation),
        isKnown: history.unknownWrites === "none",
      }),
    )
  })
}

interface Counted {
  conversation: string
  count: number
  rows: readonly Row[]
  timeline: { stored: number[]; sent: number[] } | undefined
  isKnown: boolean
}

function wrongCount(
  { isQuiet, begunAt, answeredAt }: Exchange,
  { conversation, count, rows, timeline, isKnown }: Counted,
): string[] {
  if (isQuiet)
    return count === rows.length
      ? []
      : [`the statistics of ${conversation} say ${count}, and the table has ${rows.length}`]
  const least = (timeline?.stored ?? []).filter((at) => at < begunAt).length
  const most = isKnown
    ? (timeline?.sent ?? []).filter((at) => at < answeredAt).length
    : Number.POSITIVE_INFINITY
  return count >= least && count <= most
    ? []
    : [`the statistics of ${conversation} say ${count}, and ${least} to ${most} signals could be stored`]
}

/** For each conversation, when signals were sent, and when an answer said that one is stored to stay. */
function timelinesOf(history: History): Map<string, { stored: number[]; sent: number[] }> {
  const erasures = new Erasures(history)
  const timelines = new Map<string, { stored: number[]; sent: number[] }>()
  for (const write of history.writes)
    for (const [index, signal] of write.signals.entries()) {
      const timeline = timelines.get(signal.conversation) ?? { stored: [], sent: [] }
      timelines.set(signal.conversation, timeline)
      timeline.sent.push(write.begunAt)
      const [is, id] = write.results?.[index] ?? ["failed"]
      if (is === "stored" && erasures.outcome(signal, write, id) === "no")
        timeline.stored.push(write.storedAt)
    }
  return timelines
}

/** Metrics that are read when nothing is under way count what the ledger has. */
export function metricsEqualLedger({ reads, ledgerLines }: History): string[] {
  const entered = ledgerLines
    .filter(({ state, kind }) => state === "stored" && kind === undefined)
    .reduce((sum, { successful }) => sum + successful, 0)
  return (reads.get("metrics") ?? []).flatMap(({ isQuiet, answer }) =>
    isQuiet && answer?.counted !== undefined && answer.counted !== entered
      ? [`the metrics count ${answer.counted} signals, and the ledger ${entered}`]
      : [],
  )
}

/**
 * Each subscription's receiver has accepted every row that its filter takes, in the order of the feed, in
 * calls that do not overlap. A call that is made again is the same call.
 */
export function subscriptionMissesNothing({ calls, subscribed, rows, reads }: History): string[] {
  const order = feedOrder(reads)
  const made = Map.groupBy(calls, ({ subscription }) => subscription)
  return subscribed.flatMap(({ subscription, hashes }) => {
    const own = (made.get(subscription) ?? []).toSorted((a, b) => a.at - b.at)
    const found: string[] = []
    const bodies = new Map<string, string>()
    for (const [index, call] of own.entries()) {
      if ((bodies.get(call.webhookId) ?? call.hash) !== call.hash)
        found.push(`${subscription}: two bodies under the webhook-id ${call.webhookId}`)
      bodies.set(call.webhookId, call.hash)
      const before = own[index - 1]
      if (before && call.at < before.until) found.push(`${subscription}: two calls at once`)
    }
    const accepted = new Set(own.filter(({ isAccepted }) => isAccepted).flatMap(({ ids }) => ids))
    const wanted = hashes && new Set(hashes)
    for (const { id, hash } of rows)
      if ((!wanted || wanted.has(hash)) && !accepted.has(id))
        found.push(`${subscription} has missed the signal ${id}`)
    let last = -1
    for (const id of accepted) {
      const at = order.get(id) ?? last
      if (at < last) found.push(`${subscription} has got the signal ${id} too late`)
      last = Math.max(at, last)
    }
    return found
  })
}

import { type ConversationStats, type SignalClient, ValidationError } from "../../client/index.ts"
import { planBatch } from "../../signals/plan.ts"
import { MAX_FUTURE_SECONDS, timeLimitAt } from "../../signals/rules.ts"
import { Signal, withPlainNumbers } from "../../signals/schema.ts"
import { openSource, type SourceRequest } from "../sources/open.ts"
import type { Source } from "../sources/reading/source.ts"
import { EXIT } from "../terminal/errors.ts"
import { openClient } from "../terminal/options.ts"
import { countKind } from "./batches.ts"

interface Conversation {
  count: number
  /** Sum of the scores. */
  scores: number
}

/** Rounding makes means differ when the order of their sums does. */
const TOLERANCE = 1e-9
/** Conversations printed by name. */
const SHOWN = 20
/** Conversations in the answer of the statistics; the signals of others are listed and counted. */
const MAX_STATS = 1000

export interface VerifyOptions {
  url: string
  since: string
  /** Seconds. */
  deadline: number
}

/**
 * Runs `signals verify`.
 *
 * @returns the exit code
 */
export async function runVerifyCommand(
  request: SourceRequest,
  options: VerifyOptions,
  stop: AbortSignal,
): Promise<number> {
  const client = openClient(options)
  const { source } = await openSource(request)
  const expected = await countSource(source, stop)
  if (stop.aborted) return EXIT.stopped
  const found = await countService(client, { ...options, stop }, expected.conversations)
  const differences = [...expected.conversations].flatMap(([name, { count, scores }]) => {
    const inService = found.get(name) ?? { count: 0, scores: 0 }
    const sameMean =
      count === 0 || Math.abs(scores / count - inService.scores / Math.max(1, inService.count)) < TOLERANCE
    return count === inService.count && sameMean ? [] : [{ name, source: count, service: inService.count }]
  })
  const total = [...expected.conversations.values()].reduce((sum, { count }) => sum + count, 0)
  console.log(`The source has ${total} signals of ${expected.conversations.size} conversations.`)
  const others = Object.entries(expected.others).map(([kind, count]) => `${count} ${kind}`)
  if (others.length > 0) console.log(`Not compared: ${others.join(", ")}.`)
  for (const { name, source: inSource, service } of differences.slice(0, SHOWN))
    console.log(
      `${name}: ${inSource} in the source, ${service} in the service${inSource === service ? ", but with another mean score" : ""}`,
    )
  if (differences.length > SHOWN) console.log(`and ${differences.length - SHOWN} more`)
  console.log(
    differences.length === 0
      ? "The service has each of these signals once."
      : `${differences.length} conversations differ.`,
  )
  return differences.length === 0 ? EXIT.done : EXIT.someFailed
}

interface Expected {
  conversations: Map<string, Conversation>
  /** Records that become no signal, by kind. */
  others: Record<string, number>
}

/**
 * Counts the signals that the service stores of a source, by its own rules; the first of those that share a
 * dedupe_key.
 */
async function countSource(source: Source, stop: AbortSignal): Promise<Expected> {
  const expected: Expected = { conversations: new Map(), others: {} }
  const known = new Set<string>()
  const options = { timeLimit: timeLimitAt(new Date(), MAX_FUTURE_SECONDS) }
  for await (const record of source.records()) {
    if (stop.aborted) return expected
    if ("skipped" in record) countKind(expected.others, `${record.skipped} (skipped)`)
    else if ("error" in record) countKind(expected.others, "that cannot be read")
    else {
      const shaped = Signal.safeParse(withPlainNumbers({ ...record.signal }))
      const [row] = shaped.success
        ? planBatch([shaped.data], "2000-01-01T00:00:00.000000Z", options).rows
        : []
      if (!row) countKind(expected.others, "that break a rule")
      else if (row.dedupeKey === null || !known.has(row.dedupeKey)) {
        if (row.dedupeKey !== null) known.add(row.dedupeKey)
        addScore(expected.conversations, row.contextWindowId, row.signalScore)
      }
    }
  }
  return expected
}

function addScore(conversations: Map<string, Conversation>, name: string, score: number): void {
  const { count, scores } = conversations.get(name) ?? { count: 0, scores: 0 }
  conversations.set(name, { count: count + 1, scores: scores + score })
}

async function countService(
  client: SignalClient,
  { since, stop }: { since: string; stop: AbortSignal },
  wanted: ReadonlyMap<string, Conversation>,
): Promise<Map<string, Conversation>> {
  const stats = await statsOf(client, since, stop)
  const found = new Map(
    stats?.map(({ context_window_id, signal_count, avg_score }) => [
      context_window_id,
      { count: signal_count, scores: avg_score * signal_count },
    ]),
  )
  if (stats === undefined)
    console.error(
      `The service has too many signals after ${since} to count them at once, so each of the ${wanted.size} conversations is read by itself. ` +
        "A later --since is faster.",
    )
  else if (stats.length < MAX_STATS) return found
  for (const name of wanted.keys()) {
    if (found.has(name)) continue
    const conversation = { count: 0, scores: 0 }
    for await (const { signal_score } of client.list({ context_window_id: name, since }, { signal: stop })) {
      conversation.count++
      conversation.scores += signal_score
    }
    found.set(name, conversation)
  }
  return found
}

/**
 * The statistics of the conversations with the most signals; undefined when the service has more signals than
 * it counts at once.
 */
async function statsOf(
  client: SignalClient,
  since: string,
  stop: AbortSignal,
): Promise<ConversationStats[] | undefined> {
  try {
    return await client.stats({ since, limit: MAX_STATS }, { signal: stop })
  } catch (error) {
    if (error instanceof ValidationError && error.code === "read_too_costly") return undefined
    throw error
  }
}

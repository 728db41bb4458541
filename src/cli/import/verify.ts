import type { SignalClient } from "../../client/index.ts"
import { planBatch } from "../../signals/plan.ts"
import { Signal, withPlainNumbers } from "../../signals/schema.ts"
import { openClient } from "../options.ts"
import { openSource, type SourceRequest } from "../sources/open.ts"
import type { Source } from "../sources/source.ts"
import { EXIT } from "../usage.ts"

interface Conversation {
  count: number
  scores: number
}

/** How far two means may be apart that were summed in another order. */
const TOLERANCE = 1e-9
const SHOWN = 20
/** What the statistics tell of at once; the rest is counted signal by signal. */
const MAX_STATS = 1000

/** Runs `signals verify`. Returns the exit code. */
export async function runVerifyCommand(request: SourceRequest, options: { url: string; since: string }): Promise<number> {
  const { source } = await openSource(request)
  const client = openClient(options)
  const expected = await countSource(source)
  const found = await countService(client, options.since, expected.conversations)
  const differences = [...expected.conversations].flatMap(([name, { count, scores }]) => {
    const there = found.get(name) ?? { count: 0, scores: 0 }
    const sameMean = count === 0 || Math.abs(scores / count - there.scores / Math.max(1, there.count)) < TOLERANCE
    return count === there.count && sameMean ? [] : [{ name, source: count, service: there.count }]
  })
  const total = [...expected.conversations.values()].reduce((sum, { count }) => sum + count, 0)
  const refused = expected.refused > 0 ? `, and ${expected.refused} that break a rule` : ""
  console.log(`The source has ${total} signals of ${expected.conversations.size} conversations${refused}.`)
  for (const { name, source: here, service } of differences.slice(0, SHOWN))
    console.log(`${name}: ${here} in the source, ${service} in the service${here === service ? ", with another mean score" : ""}`)
  if (differences.length > SHOWN) console.log(`and ${differences.length - SHOWN} more`)
  console.log(differences.length === 0 ? "The service has each of them once." : `${differences.length} conversations differ.`)
  return differences.length === 0 ? EXIT.done : EXIT.someFailed
}

/** What would be stored of a source, judged by the service's own rules; of those that share a dedupe_key the first. */
async function countSource(source: Source): Promise<{ conversations: Map<string, Conversation>; refused: number }> {
  const conversations = new Map<string, Conversation>()
  const known = new Set<string>()
  let refused = 0
  for await (const record of source.records()) {
    if (!("signal" in record)) continue
    const shaped = Signal.safeParse(withPlainNumbers({ ...record.signal }))
    const [row] = shaped.success ? planBatch([shaped.data], "2000-01-01T00:00:00.000000Z").rows : []
    if (!row) refused++
    else if (row.dedupeKey === null || !known.has(row.dedupeKey)) {
      if (row.dedupeKey !== null) known.add(row.dedupeKey)
      const conversation = conversations.get(row.contextWindowId) ?? { count: 0, scores: 0 }
      conversations.set(row.contextWindowId, { count: conversation.count + 1, scores: conversation.scores + row.signalScore })
    }
  }
  return { conversations, refused }
}

async function countService(
  client: SignalClient,
  since: string,
  wanted: ReadonlyMap<string, Conversation>,
): Promise<Map<string, Conversation>> {
  const stats = await client.stats({ since, limit: MAX_STATS })
  const found = new Map(
    stats.map(({ context_window_id, signal_count, avg_score }) => [
      context_window_id,
      { count: signal_count, scores: avg_score * signal_count },
    ]),
  )
  if (stats.length < MAX_STATS) return found
  for (const name of wanted.keys()) {
    if (found.has(name)) continue
    const conversation = { count: 0, scores: 0 }
    for await (const { signal_score } of client.list({ context_window_id: name, since })) {
      conversation.count++
      conversation.scores += signal_score
    }
    found.set(name, conversation)
  }
  return found
}

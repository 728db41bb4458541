import type { Bindings } from "../bindings.ts"
import { errorForLog } from "../errors.ts"
import { type Added, NOTHING_ADDED } from "../ingest/context.ts"
import { CONSUMER_ROUTE, commonName, type Outcome, recordPoint, recordScores } from "../metrics/points.ts"
import { readMessage } from "../queue/messages.ts"
import type { Counts } from "../signals/answer.ts"
import { continueTrace, readTraceparent, spanForLog, type TraceContext, traceparentOf } from "../trace.ts"

/** The result of one run of the consumer. */
export interface ConsumerRun {
  startedAt: number
  added: Added
  /** Messages that the bucket keeps until the database answers. */
  kept: number
  error: unknown
  databaseAttempts: number
  databaseMs: number
}

export const newRun = (): ConsumerRun => ({
  startedAt: Date.now(),
  added: NOTHING_ADDED,
  kept: 0,
  error: undefined,
  databaseAttempts: 0,
  databaseMs: 0,
})

/** Writes the log line and the data point of a run. */
export async function reportRun(
  bindings: Bindings,
  batch: MessageBatch<unknown>,
  run: ConsumerRun,
): Promise<void> {
  const { startedAt, added, kept, databaseAttempts, databaseMs } = run
  const { stored, duplicates, failed, sources, codes, scores } = added
  const hasScores = Object.values(scores).some((count) => count > 0)
  const error = run.error === undefined ? undefined : errorForLog(run.error)
  const ms = Date.now() - startedAt
  // A source is what the sender wrote: it stays out of the log.
  const counts = { messages: batch.messages.length, stored, duplicates, failed, kept_in_bucket: kept }
  const usage = { database_attempts: databaseAttempts, database_ms: databaseMs }
  const traces = tracesForLog(batch.messages)
  console.log(
    JSON.stringify({
      event: "consumed",
      queue: batch.queue,
      ...traces,
      ...counts,
      ...codesForLog(codes),
      ...(hasScores && { scores }),
      ms,
      error,
      ...usage,
    }),
  )
  const outcome: Outcome = error
    ? "unavailable"
    : failed > 0
      ? stored > 0
        ? "partly_stored"
        : "rejected"
      : "stored"
  const point = {
    route: CONSUMER_ROUTE,
    outcome,
    status: error ? 503 : 200,
    source: commonName(sources),
    total: stored + duplicates + failed,
    successes: stored,
    duplicates,
    failures: failed,
    latencyMs: ms,
    databaseMs,
    databaseAttempts,
  }
  await recordPoint(bindings.METRICS, point, { sources, codes })
  await recordScores(bindings.METRICS, scores)
}

const codesForLog = (codes: Counts) => (codes.size > 0 ? { codes: Object.fromEntries(codes) } : {})

/** One link for each message; `max_batch_size` in wrangler.toml has the same number. */
const MAX_LINKS = 100

/**
 * The trace fields of a run's log line. The run continues the trace of a single request. When its messages
 * come from several requests, the line links to each of their traces, as OpenTelemetry specifies for batches
 * of messages.
 *
 * @see https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/#trace-structure
 */
function tracesForLog(messages: readonly Message<unknown>[]) {
  const callers = new Map<string, TraceContext>()
  for (const { body } of messages) {
    const caller = readTraceparent(readMessage(body)?.traceparent)
    if (caller) callers.set(traceparentOf(caller), caller)
  }
  const [only, ...others] = callers.values()
  if (only && others.length === 0) return spanForLog(continueTrace(only))
  const links = [...callers.keys()].slice(0, MAX_LINKS)
  return links.length > 0 ? { links, links_omitted: callers.size - links.length || undefined } : {}
}

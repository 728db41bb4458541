import { readSettings } from "../../../src/config.ts"
import type { IngestContext } from "../../../src/ingest/context.ts"
import { planBatch } from "../../../src/signals/plan.ts"
import type { Signal } from "../../../src/signals/schema.ts"
import { connect } from "../../../src/store/database/connection.ts"
import { bindings } from "../service.ts"

/** A queue that takes messages and delivers none. */
export interface TestQueue extends Queue {
  sent: string[]
}

/** @param failure what `send` rejects with */
export function testQueue(options: { failure?: Error; backlogCount?: number } = {}): TestQueue {
  const sent: string[] = []
  const metrics = { backlogCount: options.backlogCount ?? 0, backlogBytes: 0 }
  const take = async (bodies: string[]) => {
    if (options.failure) throw options.failure
    sent.push(...bodies)
    return { metadata: { metrics } }
  }
  return {
    sent,
    metrics: async () => metrics,
    send: (body: string) => take([body]),
    sendBatch: (messages: Iterable<{ body: string }>) => take([...messages].map(({ body }) => body)),
  } as unknown as TestQueue
}

const NOW = new Date("2026-01-02T03:04:05Z")

export function testContext(changed: Partial<IngestContext> = {}): IngestContext {
  // The driver has one endpoint for all connections, the last one's: a given database must stay the last.
  const db = changed.db ?? connect(readSettings(bindings).database)
  return { queue: testQueue(), bucket: bindings.BUCKET, now: NOW, ...changed, db }
}

/** The database of a context that no one answers for. */
export const unreachable = () =>
  connect({ ...readSettings(bindings).database, httpEndpoint: "http://127.0.0.1:9/sql", deadlineMs: 200 })

/** A batch of these signals as a route would make it. */
export const requestOf = (
  signals: Partial<Signal>[],
  options: { key?: string; hash?: string; allOrNothing?: boolean } = {},
) => ({
  caller: "tester",
  plan: planBatch(signals as Signal[], "2026-01-02T03:04:05.000000Z"),
  allOrNothing: options.allOrNothing ?? false,
  idempotency:
    options.key === undefined ? undefined : { key: options.key, requestHash: options.hash ?? "hash" },
})

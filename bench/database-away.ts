import { setTimeout as sleep } from "node:timers/promises"
import { parseArgs } from "node:util"
import { startNeonEndpoint } from "../src/local/neon/endpoint.ts"
import { migrate } from "../src/local/postgres/migrate.ts"
import { startTemporaryPostgres } from "../src/local/postgres/postgres.ts"
import { runQueuedBundle } from "../test/setup/queued-bundle.ts"
import { SIGNING_SECRET } from "../test/setup/slack.ts"
import { buildBundle } from "../test/setup/workerd.ts"
import { openConnection } from "./harness/database.ts"
import { makeEvents } from "./harness/slack-events.ts"

/**
 * `npx node bench/database-away.ts`: sends Slack events at a steady rate through an outage of the database.
 * Prints the answers, and how long after the outage the last event was stored.
 */
const { values } = parseArgs({
  options: { seconds: { type: "string", default: "60" }, rate: { type: "string", default: "50" } },
})
const AWAY_SECONDS = Number(values.seconds)
const PER_SECOND = Number(values.rate)
/** The outage is in the middle of this time. */
const AROUND_SECONDS = 3

const postgres = await startTemporaryPostgres()
await migrate(postgres.url)
const endpoint = await startNeonEndpoint()
const bundle = await buildBundle()
const service = await runQueuedBundle(bundle, {
  DATABASE_URL: postgres.url,
  DATABASE_HTTP_ENDPOINT: endpoint.url,
  SLACK_SIGNING_SECRET: SIGNING_SECRET,
})
const { client: admin } = await openConnection(postgres.url)
const countRows = async () =>
  (await admin.query<{ count: number }>("select count(*)::int4 as count from signals")).rows[0]?.count ?? 0

try {
  const total = (AWAY_SECONDS + 2 * AROUND_SECONDS) * PER_SECOND
  const statuses = new Map<number, number>()
  const latencies: number[] = []
  const events = makeEvents(total)
  const startedAt = performance.now()
  const outage = (async () => {
    await sleep(AROUND_SECONDS * 1000)
    await endpoint.faults.refuse()
    await sleep(AWAY_SECONDS * 1000)
    await endpoint.faults.accept()
    return performance.now()
  })()
  await Promise.all(
    events.map(async ({ headers, body }, number) => {
      await sleep((number * 1000) / PER_SECOND)
      const sentAt = performance.now()
      const { status } = await fetch(`${service.address}/webhooks/slack`, {
        method: "POST",
        headers,
        body: new Uint8Array(body),
      })
      latencies.push(performance.now() - sentAt)
      statuses.set(status, (statuses.get(status) ?? 0) + 1)
    }),
  )
  const backAt = await outage
  const sentFor = performance.now() - startedAt
  while ((await countRows()) < total && performance.now() - backAt < 120_000) await sleep(50)
  const afterSeconds = (performance.now() - backAt) / 1000
  const { rows } = await admin.query(
    "select count(*)::int4 as rows, count(distinct payload #>> '{envelope,event_id}')::int4 as events from signals",
  )
  latencies.sort((a, b) => a - b)
  console.log(
    `${total} events in ${(sentFor / 1000).toFixed(1)} s, with an outage of the database of ${AWAY_SECONDS} s`,
  )
  console.log(
    `answers by status: ${JSON.stringify(Object.fromEntries(statuses))}; slowest ${latencies.at(-1)?.toFixed(0)} ms`,
  )
  console.log(
    `stored: ${rows[0].rows} rows, ${rows[0].events} different events, the last ${afterSeconds.toFixed(1)} s after the outage`,
  )
} finally {
  await service.stop()
  await admin.end()
  await endpoint.stop()
  await postgres.stop()
  await bundle.remove()
}

import type { Client } from "pg"
import { runQueuedBundle } from "../test/setup/queued-bundle.ts"
import { SIGNING_SECRET, type SlackRequest } from "../test/setup/slack.ts"
import { openConnection } from "./harness/database.ts"
import { openAgent, post } from "./harness/http.ts"
import { describeMachine } from "./harness/machine.ts"
import { printTable } from "./harness/print.ts"
import { makeEvents } from "./harness/slack-events.ts"
import { startStack } from "./harness/stack.ts"

/**
 * `npx node bench/webhooks.ts`: compares Slack events, posted one by one to the webhook and stored by the
 * queue, with the same messages posted one by one to POST /api/signals. Both use the same Worker under
 * Miniflare, whose queue delivers up to 100 messages at once.
 */
const EVENTS = 4000
const CALLERS = 8
const LATENCIES = [0, 5]

/** Measures the time in which `CALLERS` callers send each of `requests` once. */
async function drive(address: string, requests: readonly SlackRequest[], status: number): Promise<number> {
  const agent = openAgent(CALLERS)
  const startedAt = performance.now()
  let next = 0
  const caller = async () => {
    for (let request = requests[next++]; request; request = requests[next++])
      await post(agent, address, request.body, status, request.headers)
  }
  await Promise.all(Array.from({ length: CALLERS }, caller)).finally(() => agent.destroy())
  return performance.now() - startedAt
}

/** The message of an event as a signal for the API. */
function asSignal({ body }: SlackRequest): SlackRequest {
  const { team_id, event } = JSON.parse(body.toString())
  const signal = {
    context_window_id: `${team_id}/${event.channel}`,
    raw_content: event.text,
    signal_source: "Slack",
    user_id: event.user,
    payload: event,
  }
  return { headers: { "Content-Type": "application/json" }, body: Buffer.from(JSON.stringify(signal)) }
}

async function waitForRows(admin: Client, count: number): Promise<void> {
  for (;;) {
    const { rows } = await admin.query<{ count: number }>("select count(*)::int4 as count from signals")
    if ((rows[0]?.count ?? 0) >= count) return
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

const stack = await startStack()
const { client: admin } = await openConnection(stack.postgres.url)
const service = await runQueuedBundle(stack.bundle, {
  DATABASE_URL: stack.postgres.url,
  DATABASE_HTTP_ENDPOINT: stack.endpoint.url,
  OPEN_ACCESS: "true",
  SLACK_SIGNING_SECRET: SIGNING_SECRET,
})
try {
  console.log(`${await describeMachine(admin)}\n${EVENTS} messages, ${CALLERS} callers, one message a call\n`)
  const lines: string[][] = []
  for (const latencyMs of LATENCIES) {
    await stack.endpoint.setLatency(latencyMs)
    const perSecond: number[] = []
    for (const warm of [false, true]) {
      await admin.query("truncate signals, batches")
      const startedAt = performance.now()
      const accepted = await drive(`${service.address}/webhooks/slack`, makeEvents(EVENTS), 200)
      await waitForRows(admin, EVENTS)
      const stored = performance.now() - startedAt
      await admin.query("truncate signals, batches")
      const singles = await drive(`${service.address}/api/signals`, makeEvents(EVENTS).map(asSignal), 201)
      if (warm) perSecond.push(...[accepted, stored, singles].map((ms) => (EVENTS / ms) * 1000))
    }
    const [accepted = 0, stored = 0, singles = 1] = perSecond
    const figures = [accepted, stored, singles].map((value) => value.toFixed(0))
    lines.push([`${latencyMs} ms`, ...figures, (stored / singles).toFixed(1)])
  }
  printTable(
    ["round trip to the database", "webhooks/s accepted", "signals/s stored", "POST /api/signals/s", "times"],
    lines,
  )
} finally {
  await service.stop()
  await admin.end()
  await stack.stop()
}

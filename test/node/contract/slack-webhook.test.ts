import { existsSync, readFileSync } from "node:fs"
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest"
import { type QueuedBundle, runQueuedBundle } from "../../setup/queued-bundle.ts"
import { type Storage, startStorage } from "../../setup/rig.ts"
import { envelope, SIGNING_SECRET, signedRequest } from "../../setup/slack.ts"

/**
 * 1,280 real Slack events, pseudonymised. They are not part of this project, so the test is skipped where
 * they are missing.
 */
const FILE = new URL("../../../../shared/data/slack-day.jsonl", import.meta.url)
const isThere = existsSync(FILE)
if (!isThere)
  console.log("skipped: the day of Slack events (shared/data/slack-day.jsonl) is not on this machine")

interface SlackEvent {
  type: string
  subtype?: string
  channel: string
  text?: string
  user?: string
  ts: string
}

/** As Slack's page of message events has it: what somebody or something said. */
const SAID = ["plain", "thread_broadcast", "bot_message", "me_message", "file_share"]
const kindOf = ({ subtype }: SlackEvent) => subtype ?? "plain"

function countBy<Item>(items: readonly Item[], kind: (item: Item) => string): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const item of items) counts[kind(item)] = (counts[kind(item)] ?? 0) + 1
  return counts
}

describe.runIf(isThere)("a day of real Slack events, delivered as Slack does", () => {
  const events: SlackEvent[] = isThere
    ? readFileSync(FILE, "utf8")
        .trimEnd()
        .split("\n")
        .map((line) => JSON.parse(line))
    : []
  let storage: Storage
  let service: QueuedBundle

  beforeAll(async () => {
    storage = await startStorage()
    service = await runQueuedBundle(inject("bundle"), {
      ...storage.bindings,
      SLACK_SIGNING_SECRET: SIGNING_SECRET,
    })
  })
  afterAll(async () => {
    await service?.stop()
    await storage?.stop()
  })

  /**
   * Posts each event, some twice as Slack does when an answer is late, and counts the answers by state and
   * kind.
   */
  async function deliver(): Promise<{ states: Record<string, number>; skipped: Record<string, number> }> {
    const answers: { state: string; skipped: Record<string, number> }[] = []
    for (const [index, event] of events.entries()) {
      const { headers, body } = signedRequest(Buffer.from(JSON.stringify(envelope(event, `Ev${index}`))))
      const post = (more = {}) =>
        fetch(`${service.address}/webhooks/slack`, {
          method: "POST",
          headers: { ...headers, ...more },
          body: new Uint8Array(body),
        })
      const response = await post()
      expect(response.status).toBe(200)
      answers.push((await response.json()) as (typeof answers)[number])
      if (index % 10 === 0)
        expect(
          (await post({ "X-Slack-Retry-Num": "1", "X-Slack-Retry-Reason": "http_timeout" })).status,
        ).toBe(200)
    }
    return {
      states: countBy(answers, ({ state }) => state),
      skipped: countBy(
        answers.flatMap(({ skipped }) => Object.keys(skipped)),
        (kind) => kind,
      ),
    }
  }

  it("stores each event once, or skips it by name", async () => {
    const said = events.filter((event) => SAID.includes(kindOf(event)))
    const unsaid = events.filter((event) => !SAID.includes(kindOf(event)))
    expect(events).toHaveLength(1280)

    const { states, skipped } = await deliver()
    expect(states).toEqual({ queued: said.length, skipped: unsaid.length })
    expect(skipped).toEqual(countBy(unsaid, kindOf))

    const stored = () => storage.query<{ count: number }>("select count(*)::int4 as count from signals")
    await expect.poll(stored).toEqual([{ count: said.length }])
    expect(await storage.query("select count(*)::int4 as count from dead_letters")).toEqual([{ count: 0 }])
    const rows = await storage.query<{ kind: string; count: number }>(
      "select coalesce(payload ->> 'subtype', 'plain') as kind, count(*)::int4 as count from signals group by 1",
    )
    expect(Object.fromEntries(rows.map(({ kind, count }) => [kind, count]))).toEqual(countBy(said, kindOf))
  })

  it("stores each message with its text, author, conversation and microsecond", async () => {
    const rows = await storage.query<{
      raw_content: string | null
      user_id: string | null
      conversation: string
      time: string
    }>(
      `select raw_content, user_id, context_window_id as conversation,
        extract(epoch from time)::numeric(16, 6)::text as time from signals`,
    )
    const told = events
      .filter((event) => SAID.includes(kindOf(event)))
      .map(({ text, user, channel, ts }) => ({
        raw_content: text ?? null,
        user_id: user ?? null,
        conversation: `T03RZGPFR/${channel}`,
        time: ts,
      }))
    const sorted = <Row>(all: readonly Row[]) => all.map((row) => JSON.stringify(row)).sort()
    expect(sorted(rows)).toEqual(sorted(told))
  })
})

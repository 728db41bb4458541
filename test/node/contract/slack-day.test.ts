import { existsSync, readFileSync } from "node:fs"
import { gzipSync } from "node:zlib"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { type Rig, startRig } from "../../setup/rig.ts"

/**
 * 1,280 real Slack events, pseudonymised. They are not part of this project, so the test is skipped where
 * they are missing.
 */
const FILE = new URL("../../../../shared/data/slack-day.jsonl", import.meta.url)
const isThere = existsSync(FILE)
if (!isThere)
  console.log("skipped: the day of Slack events (shared/data/slack-day.jsonl) is not on this machine")

interface SlackMessage {
  type: string
  subtype?: string
  team: string
  channel: string
  user: string
  text: string
  ts: string
}

const asSignal = ({ team, channel, user, text, ts, ...rest }: SlackMessage) => ({
  context_window_id: `${team}/${channel}`,
  timestamp: Number(ts),
  raw_content: text,
  signal_source: "Slack",
  user_id: user,
  payload: { ts, ...rest },
  dedupe_key: `${team}/${channel}/${ts}`,
})

/** Slack's `ts` is a Unix time with microseconds; read here without a double's help. */
const timeOf = (ts: string) => {
  const [seconds, micros] = ts.split(".")
  return `${new Date(Number(seconds) * 1000).toISOString().slice(0, 19)}.${micros}Z`
}

const sortNames = (value: unknown): unknown =>
  JSON.parse(JSON.stringify(value), (_, item) =>
    typeof item === "object" && item !== null && !Array.isArray(item)
      ? Object.fromEntries(Object.entries(item).sort(([one], [other]) => (one < other ? -1 : 1)))
      : item,
  )

describe.runIf(isThere)("a day of real Slack messages", () => {
  let rig: Rig
  const messages = isThere
    ? readFileSync(FILE, "utf8")
        .trimEnd()
        .split("\n")
        .map((line) => JSON.parse(line) as SlackMessage)
        .filter(({ type, subtype }) => type === "message" && subtype === undefined)
    : []

  beforeAll(async () => {
    rig = await startRig()
  })
  afterAll(() => rig?.stop())

  const send = async (batch: SlackMessage[]) => {
    const response = await fetch(`${rig.service.address}/api/signals/batch`, {
      method: "POST",
      headers: { "Content-Type": "application/x-ndjson", "Content-Encoding": "gzip" },
      body: gzipSync(batch.map((message) => JSON.stringify(asSignal(message))).join("\n")),
    })
    return (await response.json()) as {
      successful_count: number
      failed_count: number
      results: { index: number; signal_id: number; duplicate?: true }[]
    }
  }

  it("is stored field by field as it was sent to the batch route", async () => {
    expect(messages).toHaveLength(847)
    for (let start = 0; start < messages.length; start += 250) {
      const batch = messages.slice(start, start + 250)
      const answer = await send(batch)
      expect(answer).toMatchObject({ successful_count: batch.length, failed_count: 0 })
    }
    const rows = await rig.query<Record<string, unknown>>(
      `select context_window_id, to_char(time at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as time, raw_content, signal_source,
        user_id, payload, dedupe_key, signal_score, emotional_tone, escalate_flag, agent_id
      from signals order by id`,
    )
    expect(rows.map(sortNames)).toEqual(
      messages.map((message) => {
        const { timestamp, ...fields } = asSignal(message)
        return sortNames({
          ...fields,
          time: timeOf(message.ts),
          signal_score: 0.5,
          emotional_tone: null,
          escalate_flag: 0,
          agent_id: null,
        })
      }),
    )
  })

  it("stores nothing when it is sent again, and gets the same ids", async () => {
    const batch = messages.slice(0, 250)
    const [first] = await rig.query<{ id: string }>("select id from signals order by id limit 1")
    const answer = await send(batch)
    expect(answer.results.every(({ duplicate }) => duplicate)).toBe(true)
    expect(answer.results[0]?.signal_id).toBe(Number(first?.id))
    expect(await rig.query("select count(*)::int4 as count from signals")).toEqual([{ count: 847 }])
  })

  it("is read again page by page, completely", async () => {
    const texts: string[] = []
    let cursor: string | null = ""
    do {
      const page = (await (
        await fetch(`${rig.service.address}/api/signals?limit=300&cursor=${cursor}`.replace(/&cursor=$/, ""))
      ).json()) as {
        signals: { raw_content: string }[]
        next_cursor: string | null
      }
      texts.push(...page.signals.map(({ raw_content }) => raw_content))
      cursor = page.next_cursor
    } while (cursor)
    expect(texts.toSorted()).toEqual(messages.map(({ text }) => text).toSorted())
  })
})

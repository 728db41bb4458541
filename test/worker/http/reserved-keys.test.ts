import { createExecutionContext, waitOnExecutionContext } from "cloudflare:test"
import { describe, expect, it } from "vitest"
import { app } from "../../../src/app.ts"
import { bindings, countOf, freshConversation, query, send } from "../service.ts"
import { freshChannel, message, rowsOf, sendSigned } from "./routes/slack/requests.ts"

const KEY = "a-key-without-bridge"

async function withoutBridge() {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(KEY))
  const API_KEYS = JSON.stringify([
    { name: "sender", sha256: new Uint8Array(digest).toHex(), scopes: ["ingest"] },
  ])
  return { ...bindings, OPEN_ACCESS: "false", API_KEYS }
}

/** Sends with a key that has the scope `ingest` alone. There is no queue, so that all is stored at once. */
async function sendAs(path: string, body: unknown, type = "application/json") {
  const context = createExecutionContext()
  const { QUEUE: _, ...environment } = await withoutBridge()
  const init = {
    method: "POST",
    headers: { "Content-Type": type, Authorization: `Bearer ${KEY}` },
    body: typeof body === "string" ? body : JSON.stringify(body),
  }
  const response = await app.request(path, init, environment, context)
  await waitOnExecutionContext(context)
  return { status: response.status, text: await response.text() }
}

const RESERVED = ["slack:T1/C1/1790000000.000100", "kafka:chat/0/41", "cloudevent:/s 1"]

describe("a dedupe_key that only a bridge may choose", () => {
  it.each(RESERVED)(
    "is refused in a signal, a batch, its lines, and all or nothing: %s",
    async (dedupe_key) => {
      const signal = { context_window_id: freshConversation(), dedupe_key }
      const single = await sendAs("/api/signals", signal)
      expect([single.status, single.text]).toEqual([
        422,
        expect.stringContaining("dedupe_key must not begin"),
      ])
      const batch = await sendAs("/api/signals/batch", { signals: [signal] })
      expect([batch.status, batch.text]).toEqual([200, expect.stringContaining("reserved_dedupe_key")])
      const lines = await sendAs("/api/signals/batch", JSON.stringify(signal), "application/x-ndjson")
      expect([lines.status, lines.text]).toEqual([200, expect.stringContaining("reserved_dedupe_key")])
      const whole = await sendAs("/api/signals/batch", { signals: [signal], fail_on_error: true })
      expect([whole.status, whole.text]).toEqual([400, expect.stringContaining("reserved_dedupe_key")])
      expect(await countOf(signal.context_window_id)).toBe(0)
    },
  )

  it.each(RESERVED)(
    "is refused in a record's value, and at its replay, alone or with others: %s",
    async (key) => {
      const context_window_id = freshConversation()
      const values = [
        { context_window_id, raw_content: "planted", dedupe_key: key },
        {
          records: [
            { key: "k", value: { context_window_id, dedupe_key: key }, topic: "t", partition: 0, offset: 7 },
          ],
        },
      ]
      for (const value of values) {
        const answer = await sendAs("/webhooks/kafka", value)
        expect([answer.status, answer.text]).toEqual([200, expect.stringContaining("reserved_dedupe_key")])
        // No scope of a key would help.
        expect(answer.text).toMatch(/must not begin with \w+: in the value of a record/)
      }
      const kept = await query<{ id: string }>(
        "select id from dead_letters where state = 'waiting' and record like $1",
        [`%${context_window_id}%`],
      )
      expect(kept.length).toBe(2)
      const one = await send(`/api/dead-letters/${kept[0]?.id}/replay`, { method: "POST" })
      expect(await one.json()).toMatchObject({ replayed: false })
      const ids = kept.map(({ id }) => id).join()
      const all = await send(`/api/dead-letters/replay?ids=${ids}`, { method: "POST" })
      expect(await all.json()).toMatchObject({ replayed_count: 0, failed_count: 2 })
      expect(await countOf(context_window_id)).toBe(0)
    },
  )

  it("stays free for the true record, also after a replay", async () => {
    const channel = freshChannel()
    const { event } = message(channel)
    const planted = {
      context_window_id: freshConversation(),
      raw_content: "planted",
      dedupe_key: `slack:${channel}/${event.ts}`,
    }
    await sendAs("/webhooks/kafka", planted)
    const [kept] = await query<{ id: string }>("select id from dead_letters where record like $1", [
      `%${planted.context_window_id}%`,
    ])
    await send(`/api/dead-letters/${kept?.id}/replay`, { method: "POST" })
    const { response } = await sendSigned(message(channel), { changed: { QUEUE: undefined } as never })
    expect(response.status).toBe(200)
    expect(await rowsOf(channel)).toMatchObject([{ raw_content: "Hello" }])
  })
})

import { createExecutionContext } from "cloudflare:test"
import { describe, expect, it, vi } from "vitest"
import { app } from "../../../../../src/app.ts"
import type { Bindings } from "../../../../../src/bindings.ts"
import { consume } from "../../../consumer/messages.ts"
import { bindings, query } from "../../../service.ts"
import { freshChannel, message, rowsOf, SECRET, sendSigned } from "./requests.ts"

const UNREACHABLE = { DATABASE_HTTP_ENDPOINT: "http://127.0.0.1:9/sql" }

describe("POST /webhooks/slack", () => {
  it("answers Slack's verification of the address", async () => {
    const { response, answer } = await sendSigned({
      token: "t",
      challenge: "3eZbrw1aBm",
      type: "url_verification",
    })
    expect([response.status, answer]).toEqual([200, { challenge: "3eZbrw1aBm" }])
  })

  it("acknowledges a message when the queue has it, while the database can't be reached", async () => {
    const channel = freshChannel()
    const { response, answer, queued } = await sendSigned(message(channel), { changed: UNREACHABLE })
    expect(response.status).toBe(200)
    expect(answer).toMatchObject({
      state: "queued",
      total_count: 1,
      accepted_count: 1,
      transaction_id: expect.any(String),
    })
    await consume(queued)
    expect(await rowsOf(channel)).toMatchObject([
      { raw_content: "Hello", time: "2026-09-21 14:13:20.0001+00" },
    ])
  })

  it("stores a message once when Slack sends it again, or in two events", async () => {
    const channel = freshChannel()
    const event = message(channel)
    const first = await sendSigned(event)
    const again = await sendSigned(event, {
      headers: { "X-Slack-Retry-Num": "1", "X-Slack-Retry-Reason": "http_timeout" },
    })
    const other = await sendSigned({ ...event, event_id: "Ev2" })
    await consume([...first.queued, ...again.queued, ...other.queued, ...first.queued])
    expect(await rowsOf(channel)).toHaveLength(1)
  })

  it("writes directly to the database without a queue, or when the queue fails", async () => {
    const refusing = { send: () => Promise.reject(new Error("Too Many Requests")) } as unknown as Queue
    for (const changed of [{ QUEUE: undefined }, { QUEUE: refusing }]) {
      const channel = freshChannel()
      const { response, answer } = await sendSigned(message(channel), {
        changed: changed as Partial<Bindings>,
      })
      expect([response.status, answer.state]).toEqual([200, "stored"])
      expect(await rowsOf(channel)).toHaveLength(1)
    }
  })

  it("asks Slack to retry, within its 3 seconds, when neither queue nor database accepts it", async () => {
    const startedAt = Date.now()
    const { response } = await sendSigned(message(freshChannel()), {
      changed: { ...UNREACHABLE, QUEUE: undefined, DATABASE_DEADLINE_MS: "60000" } as unknown as Bindings,
    })
    expect(response.status).toBe(503)
    expect(Date.now() - startedAt, "not the deadline of other requests").toBeLessThan(60_000)
  })

  it.each([
    ["message_changed", message("C1", { subtype: "message_changed" })],
    ["reaction_added", { ...message("C1"), event: { type: "reaction_added" } }],
    [
      "app_rate_limited",
      { type: "app_rate_limited", token: "t", team_id: "T1", minute_rate_limited: 1_518_467_820 },
    ],
  ])("acknowledges and counts as skipped, by name: %s", async (kind, body) => {
    const { response, answer, queued, point } = await sendSigned(body)
    expect(response.status).toBe(200)
    expect(answer).toMatchObject({ state: "skipped", total_count: 0, skipped: { [kind]: 1 } })
    expect(queued).toEqual([])
    expect(point?.blobs).toEqual([
      "POST /webhooks/slack",
      "delivery",
      "skipped",
      "200",
      "webhook:slack",
      "",
      kind,
      "",
    ])
    expect(point?.doubles[7]).toBe(1)
  })

  it("writes to the log that Slack holds events back", async () => {
    const log = vi.spyOn(console, "log")
    await sendSigned({
      type: "app_rate_limited",
      token: "t",
      team_id: "T1",
      minute_rate_limited: 1_518_467_820,
    })
    expect(JSON.parse(log.mock.lastCall?.[0])).toMatchObject({
      kind: "app_rate_limited",
      error: "Slack holds events of team T1 back",
    })
    log.mockRestore()
  })

  it("acknowledges an event that cannot become a signal, and keeps it as a dead letter without the token", async () => {
    const body = message("C1", { ts: "yesterday" })
    const { response, answer, queued } = await sendSigned(body)
    expect(response.status).toBe(200)
    expect(answer).toMatchObject({
      state: "queued",
      failed_count: 1,
      failures: [{ index: 0, error: expect.stringMatching(/^event\.ts/) }],
    })
    await consume(queued)
    const deadLetters = await query<{ record: string }>(
      "select record from dead_letters where transaction_id = $1",
      [answer.transaction_id],
    )
    const { token: _, ...kept } = body
    expect(deadLetters.map(({ record }) => JSON.parse(record))).toEqual([kept])
  })

  it.each([
    ["no signature", { "X-Slack-Signature": "" }],
    ["another's signature", { "X-Slack-Signature": `v0=${"0".repeat(64)}` }],
    ["an old time", { "X-Slack-Request-Timestamp": "1531420618" }],
  ])("keeps nothing of a call with %s, and answers 401", async (_, headers) => {
    const { response, answer, queued, point } = await sendSigned(message(freshChannel()), { headers })
    expect(response.status).toBe(401)
    expect(answer.detail).toMatch(/^X-Slack-/)
    expect(queued).toEqual([])
    expect(point).toBeUndefined()
  })

  it("refuses an event that nests too deeply to be kept", async () => {
    const deep = `${"[".repeat(7000)}${"]".repeat(7000)}`
    const { response, answer } = await sendSigned(
      `{"type":"event_callback","event":{"type":"message","text":${deep}}}`,
    )
    expect([response.status, answer]).toMatchObject([
      422,
      { detail: [{ msg: "the record nests deeper than 1000 levels" }] },
    ])
  })

  it("refuses every call when no secret is set, even with open access", async () => {
    const { response, answer } = await sendSigned(message("C1"), {
      changed: { SLACK_SIGNING_SECRET: "", OPEN_ACCESS: "true" },
    })
    expect([response.status, answer.detail]).toEqual([
      401,
      "SLACK_SIGNING_SECRET is not set, so every call is refused.",
    ])
  })

  it("also accepts the former secret during a rotation", async () => {
    const { response } = await sendSigned(message(freshChannel()), {
      changed: { SLACK_SIGNING_SECRET: "the-new-one", SLACK_SIGNING_SECRET_PREVIOUS: SECRET },
    })
    expect(response.status).toBe(200)
  })

  it.each([
    ["not JSON", "payload=%7B%7D", "json_invalid"],
    ["nothing of the Events API", { type: "block_actions" }, "value_error"],
  ])("answers 422 to what Slack signed and is %s", async (_, body, type) => {
    const { response, answer } = await sendSigned(body)
    expect(response.status).toBe(422)
    expect(answer.detail).toMatchObject([{ type }])
  })

  it("keeps every digit of a number in the payload", async () => {
    const channel = freshChannel()
    const text = JSON.stringify(message(channel)).replace('"text":', '"big":12345678901234567890.10,"text":')
    const { queued } = await sendSigned(text)
    await consume(queued)
    const [row] = await query<{ big: string }>(
      "select payload ->> 'big' as big from signals where context_window_id = $1",
      [`T1/${channel}`],
    )
    expect(row?.big).toBe("12345678901234567890.10")
  })

  it("has the right route when it is read", async () => {
    const response = await app.request("/webhooks/slack", {}, bindings, createExecutionContext())
    expect([response.status, response.headers.get("Allow")]).toEqual([405, "POST"])
  })
})

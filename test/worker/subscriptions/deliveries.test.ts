import { Webhook } from "standardwebhooks"
import { afterEach, describe, expect, it } from "vitest"
import { freshConversation, postBatch, postJson, query, send } from "../service.ts"
import {
  type Created,
  change,
  contentsOf,
  receiver,
  remove,
  run,
  subscribe,
  subscription,
  type TestReceiver,
} from "./receivers.ts"

const made: string[] = []

afterEach(async () => {
  await Promise.all(made.splice(0).map(remove))
})

/** A subscription to a new conversation, and what stores signals in it. */
async function follow(more: object = {}): Promise<{
  to: TestReceiver
  created: Created
  conversation: string
  store(contents: string[], fields?: object): Promise<void>
}> {
  const [to, conversation] = [receiver(), freshConversation()]
  const created = await subscribe({ url: to.url, filter: { context_window_id: conversation }, ...more })
  made.push(created.id)
  return {
    ...{ to, created, conversation },
    async store(contents, fields = {}) {
      const signals = contents.map((raw_content) => ({
        context_window_id: conversation,
        raw_content,
        ...fields,
      }))
      expect((await postBatch({ signals })).status).toBe(200)
    },
  }
}

/** Runs the deliveries until a receiver has so many calls. Other tests' transactions can hold the feed up. */
async function callsOf(to: TestReceiver, count: number) {
  await expect
    .poll(async () => {
      await run()
      return (await to.calls()).length
    })
    .toBeGreaterThanOrEqual(count)
  return to.calls()
}

/** Looks at something after a run. */
const afterRun =
  <T>(look: () => Promise<T>) =>
  async () => {
    await run()
    return look()
  }

/** Makes the next attempt due now. */
const hurry = (id: string) =>
  query("update subscriptions set next_attempt_at = now() where id = $1 and next_attempt_at is not null", [
    id,
  ])

const numbers = (from: number, count: number) =>
  Array.from({ length: count }, (_, index) => String(from + index))

describe("a subscription", () => {
  it("gets each new signal once, in order, up to 100 a call, signed", async () => {
    const { to, created, store } = await follow()
    await store(numbers(0, 250))
    await store(numbers(250, 3))
    await callsOf(to, 3)
    await expect.poll(afterRun(async () => (await subscription(created.id)).delivered_signals)).toBe(253)
    const calls = await to.calls()
    expect(contentsOf(calls).flat()).toEqual(numbers(0, 253))
    expect(
      contentsOf(calls)
        .map(({ length }) => length)
        .slice(0, 2),
    ).toEqual([100, 100])
    for (const { headers, body } of calls) {
      expect(new Webhook(created.secret).verify(body, headers)).toMatchObject({ type: "signals" })
      expect(headers).toMatchObject({ "content-type": "application/json", "user-agent": "signal-ingest" })
    }
    expect(new Set(calls.map(({ headers }) => headers["webhook-id"])).size).toBe(calls.length)
    const { state, lag_seconds, failed_attempts, last_answers } = await subscription(created.id)
    expect({ state, failed_attempts }).toEqual({ state: "active", failed_attempts: 0 })
    expect(lag_seconds).toBeGreaterThanOrEqual(0)
    expect(last_answers[0]).toMatchObject({ status: 200, error: null })
  })

  it("begins after what was stored before it", async () => {
    const conversation = freshConversation()
    const old = { context_window_id: conversation, raw_content: "old" }
    await postBatch({ signals: [old] })
    const to = receiver()
    const { id } = await subscribe({ url: to.url, filter: { context_window_id: conversation } })
    made.push(id)
    await postBatch({ signals: [{ ...old, raw_content: "new" }] })
    expect(contentsOf(await callsOf(to, 1))).toEqual([["new"]])
  })

  it.each([
    [{ escalate_flag: 1 }, ["flagged"]],
    [{ escalate_flag: 0 }, ["plain", "scored", "old"]],
    [{ min_score: 0.9 }, ["scored"]],
    [{ max_score: 0.5 }, ["plain", "flagged", "old"]],
    [{ signal_source: "slack" }, ["scored"]],
    [{ user_id: 'it\'s "me" %' }, ["plain"]],
    [{ agent_id: "bot" }, ["flagged"]],
    [{ max_age_seconds: 3600 }, ["plain", "flagged", "scored"]],
    [{ min_score: 0.9, escalate_flag: 1 }, []],
    [{}, ["plain", "flagged", "scored", "old"]],
  ])("gets only what passes %j", async (filter, expected) => {
    const conversation = freshConversation()
    const to = receiver()
    const { id } = await subscribe({ url: to.url, filter: { ...filter, context_window_id: conversation } })
    made.push(id)
    const signal = (raw_content: string, fields: object) => ({
      ...{ context_window_id: conversation, raw_content, signal_score: 0.5 },
      ...fields,
    })
    await postBatch({
      signals: [
        signal("plain", { user_id: 'it\'s "me" %' }),
        signal("flagged", { escalate_flag: 1, agent_id: "bot" }),
        signal("scored", { signal_score: 0.95, signal_source: "slack" }),
        signal("old", { timestamp: "2020-01-01T00:00:00Z" }),
      ],
    })
    await expect.poll(afterRun(async () => (await subscription(id)).lag_seconds)).toBeLessThan(1)
    if (expected.length > 0) await callsOf(to, 1)
    expect(contentsOf(await to.calls()).flat()).toEqual(expected)
  })

  it("has a bound of bytes for a call, of at least one signal", async () => {
    const { to, store } = await follow()
    const large = "x".repeat(900_000)
    await store([large, `${large}2`, `${large}3`, "small"])
    await callsOf(to, 2)
    await expect.poll(afterRun(async () => contentsOf(await to.calls()).flat().length)).toBe(4)
    expect(contentsOf(await to.calls()).map(({ length }) => length)).toEqual([2, 2])
  })

  it("that was paused goes on where it was", async () => {
    const { to, created, store } = await follow()
    await change(created.id, { state: "paused" })
    await store(["1", "2"])
    await run()
    expect(await to.calls()).toEqual([])
    await change(created.id, { state: "active" })
    expect(contentsOf(await callsOf(to, 1))).toEqual([["1", "2"]])
  })

  it("gets again what was stored since a time, with the same ids of signals", async () => {
    const { to, created, store } = await follow()
    await store(["1", "2"])
    await callsOf(to, 1)
    const since = new Date(Date.now() - 60_000).toISOString()
    expect((await postJson(`/api/subscriptions/${created.id}/resend`, { since })).status).toBe(200)
    await store(["3"])
    await callsOf(to, 2)
    await expect
      .poll(afterRun(async () => contentsOf(await to.calls()).flat()))
      .toEqual(["1", "2", "1", "2", "3"])
  })
})

describe("a receiver that fails", () => {
  it.each([
    ["an error", { status: 500 }, "HTTP 500"],
    [
      "a redirect to where it would be accepted",
      { status: 307, headers: { Location: "/in/elsewhere" } },
      /redirect/,
    ],
    ["a client error", { status: 404 }, "HTTP 404"],
  ])("by %s gets the same call again, and nothing behind it before", async (_, reply, error) => {
    const { to, created, store } = await follow()
    await to.reply([reply])
    await store(["1"])
    await callsOf(to, 1)
    await store(["2", "3"])
    await run()
    const failing = await subscription(created.id)
    expect(failing).toMatchObject({
      state: "active",
      failed_attempts: 1,
      last_answers: [{ status: reply.status }],
    })
    expect(failing.last_answers[0]?.error).toMatch(error)
    expect(failing.next_attempt_at).not.toBeNull()
    expect(await to.calls()).toHaveLength(1)

    await hurry(created.id)
    await callsOf(to, 3)
    const calls = await to.calls()
    expect(contentsOf(calls)).toEqual([["1"], ["1"], ["2", "3"]])
    expect(calls[1]?.body).toBe(calls[0]?.body)
    expect(calls[1]?.headers["webhook-id"]).toBe(calls[0]?.headers["webhook-id"])
    expect(await subscription(created.id)).toMatchObject({ failed_attempts: 0, failing_since: null })
  })

  it("never gets two bodies under one id: an erased signal is left out, under a new one", async () => {
    const { to, created, store, conversation } = await follow()
    await to.reply([{ status: 500 }])
    await store(["1", "secret", "3"])
    await callsOf(to, 1)
    const [row] = await query<{ id: string }>(
      "select id from signals where context_window_id = $1 and raw_content = 'secret'",
      [conversation],
    )
    await postJson("/api/erasures", { signal_ids: [Number(row?.id)] })
    await expect
      .poll(async () => (await query("select from signals where id = $1", [row?.id])).length)
      .toBe(0)
    await hurry(created.id)
    const calls = await callsOf(to, 2)
    expect(contentsOf(calls)).toEqual([
      ["1", "secret", "3"],
      ["1", "3"],
    ])
    expect(calls[1]?.headers["webhook-id"]).not.toBe(calls[0]?.headers["webhook-id"])
  })

  it("gets no call where every signal of the range was erased", async () => {
    const { to, created, store, conversation } = await follow()
    await to.reply([{ status: 500 }])
    await store(["1"])
    await callsOf(to, 1)
    await query("delete from signals where context_window_id = $1", [conversation])
    await store(["2"])
    await hurry(created.id)
    expect(contentsOf(await callsOf(to, 2))).toEqual([["1"], ["2"]])
  })

  it("for three days is disabled, seen as such, and goes on by hand from where it was", async () => {
    const { to, created, store } = await follow()
    await to.reply([{ status: 500 }], { forever: true })
    await store(["1"])
    await callsOf(to, 1)
    await query(
      "update subscriptions set failing_since = now() - interval '3 days', next_attempt_at = now() where id = $1",
      [created.id],
    )
    await callsOf(to, 2)
    expect(await subscription(created.id)).toMatchObject({
      state: "disabled",
      next_attempt_at: null,
      failed_attempts: 2,
    })
    await run()
    expect(await to.calls()).toHaveLength(2)
    await to.reply([])
    expect((await change(created.id, { state: "active" })).status).toBe(200)
    const calls = await callsOf(to, 3)
    expect(new Set(calls.map(({ headers }) => headers["webhook-id"])).size).toBe(1)
  })

  it("with 410 is disabled at once", async () => {
    const { to, created, store } = await follow()
    await to.reply([{ status: 410 }])
    await store(["1"])
    await callsOf(to, 1)
    await expect.poll(async () => (await subscription(created.id)).state).toBe("disabled")
  })

  it.each([["close"], ["endless"]] as const)(
    "after its 200 by %s has accepted all the same",
    async (after) => {
      const { to, created, store } = await follow()
      await to.reply([{ after }])
      await store(["1"])
      await callsOf(to, 1)
      await expect.poll(afterRun(async () => (await subscription(created.id)).delivered_signals)).toBe(1)
      expect(await to.calls()).toHaveLength(1)
    },
  )

  it("to answer at all delays only itself", async () => {
    const dead = await Promise.all(Array.from({ length: 4 }, () => follow()))
    const alive = await follow()
    for (const { to } of dead) await to.reply([{ after: "silent" }], { forever: true })
    for (const { store } of dead) await store(["1"])
    await expect
      .poll(async () => {
        await run({}, { callMs: 200 })
        const all = await Promise.all(dead.map(({ created }) => subscription(created.id)))
        return all.map(({ last_answers }) => last_answers[0]?.error)
      })
      .toEqual(dead.map(() => "no answer in 0.2 seconds"))
    // From now on they wait in lanes of their own: a run that is at work on them does not keep the others.
    for (const { created } of dead) await hurry(created.id)
    const whole = run({}, { callMs: 3000 })
    await alive.store(["1"])
    await expect.poll(afterRun(async () => (await alive.to.calls()).length)).toBe(1)
    for (const { created } of dead)
      expect((await subscription(created.id)).failed_attempts).toBeGreaterThan(0)
    await whole
  })
})

describe("a run that ends at any moment", () => {
  it("leaves its lease, which ends by itself, and the range of its call", async () => {
    const { to, created, store } = await follow()
    await to.reply([{ status: 500 }])
    await store(["1"])
    await callsOf(to, 1)
    await store(["2"])
    // As a killed run leaves it: the range was saved, and no answer.
    await query(
      `update subscriptions set lease = gen_random_uuid(), lease_until = now() + interval '1 hour', next_attempt_at = null,
         failed_attempts = 0 where id = $1`,
      [created.id],
    )
    await run()
    expect(await to.calls()).toHaveLength(1)
    await query("update subscriptions set lease_until = now() where id = $1", [created.id])
    const calls = await callsOf(to, 3)
    expect(contentsOf(calls)).toEqual([["1"], ["1"], ["2"]])
    expect(calls[1]?.headers["webhook-id"]).toBe(calls[0]?.headers["webhook-id"])
  })

  it("two runs at once call once", async () => {
    const { to, created, store } = await follow()
    await store(["1"])
    await expect
      .poll(async () => {
        await Promise.all(Array.from({ length: 6 }, () => run()))
        return (await subscription(created.id)).delivered_signals
      })
      .toBe(1)
    expect(await to.calls()).toHaveLength(1)
  })
})

describe("a position that the database does not have", () => {
  it("disables the subscription, and says what helps", async () => {
    const { to, created, store } = await follow()
    await query("update subscriptions set position_xid = '18446744073709551000' where id = $1", [created.id])
    await store(["1"])
    await run()
    const disabled = await subscription(created.id)
    expect(disabled.state).toBe("disabled")
    expect(disabled.last_answers[0]?.error).toMatch(/restored to an earlier time/)
    const since = new Date(Date.now() - 60_000).toISOString()
    await postJson(`/api/subscriptions/${created.id}/resend`, { since })
    await change(created.id, { state: "active" })
    expect(contentsOf(await callsOf(to, 1))).toEqual([["1"]])
  })
})

describe("without a secret for sealing", () => {
  it("a run asks the database nothing, and the routes say what is missing", async () => {
    const { to, store } = await follow()
    await store(["1"])
    await run({ SUBSCRIPTION_SECRET: "", DATABASE_HTTP_ENDPOINT: "http://127.0.0.1:9/sql" })
    expect(await to.calls()).toEqual([])
  })

  it("with another one, calls fail until the address and the secret are set anew", async () => {
    const { created, store } = await follow()
    await store(["1"])
    await expect
      .poll(async () => {
        await run({ SUBSCRIPTION_SECRET: "another-secret-of-thirty-two-characters" })
        return (await subscription(created.id)).last_answers[0]?.error ?? ""
      })
      .toMatch(/SUBSCRIPTION_SECRET does not open/)
    expect(await send(`/api/subscriptions/${created.id}`)).toHaveProperty("status", 200)
  })
})

describe("a subscription of the format slack", () => {
  it("gets one message for many signals, a second apart, and nothing old", async () => {
    const { to, created, store } = await follow({ format: "slack" })
    expect(created.filter).toMatchObject({ max_age_seconds: 3600 })
    await store(numbers(0, 150))
    await store(["old"], { timestamp: "2020-01-01T00:00:00Z" })
    const [first] = await callsOf(to, 1)
    expect(JSON.parse(first?.body ?? "")).toMatchObject({ text: expect.stringMatching(/^100 signals in /) })
    expect((await subscription(created.id)).next_attempt_at).not.toBeNull()
    await hurry(created.id)
    const [, second] = await callsOf(to, 2)
    expect(JSON.parse(second?.body ?? "")).toMatchObject({ text: expect.stringMatching(/^50 signals in /) })
    const { url } = await subscription(created.id)
    expect(url).toBe(`${new URL(to.url).origin}/...`)
  })
})

describe("a score that comes later", () => {
  it("brings the signal to a subscription whose filter it passes now", async () => {
    const conversation = freshConversation()
    const to = receiver()
    const { id } = await subscribe({
      url: to.url,
      filter: { context_window_id: conversation, escalate_flag: 1 },
    })
    made.push(id)
    const { results } = await (
      await postBatch({ signals: [{ context_window_id: conversation, raw_content: "later" }] })
    ).json<{ results: { signal_id: number }[] }>()
    await expect.poll(afterRun(async () => (await subscription(id)).lag_seconds)).toBe(0)
    expect(await to.calls()).toEqual([])
    const scores = [{ signal_id: results[0]?.signal_id, escalate_flag: 1 }]
    expect((await postJson("/api/scores", { scores })).status).toBe(200)
    const [call] = await callsOf(to, 1)
    expect(JSON.parse(call?.body ?? "").signals).toMatchObject([{ raw_content: "later", change: "score" }])
  })
})

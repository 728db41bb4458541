import { Webhook } from "standardwebhooks"
import { afterEach, describe, expect, it } from "vitest"
import { app } from "../../../src/app.ts"
import { MAX_SUBSCRIPTIONS, SubscriptionRecord } from "../../../src/subscriptions/schema.ts"
import { bindings, postJson, query, send } from "../service.ts"
import { type Created, change, receiver, remove, subscribe, subscription } from "./receivers.ts"

const made: string[] = []

afterEach(async () => {
  await Promise.all(made.splice(0).map(remove))
})

/** Creates a paused subscription to nothing, so that no run of another test calls it. */
async function create(body: object = {}): Promise<Created> {
  const created = await subscribe({ url: "https://hooks.example.com/signals", ...body })
  made.push(created.id)
  await change(created.id, { state: "paused" })
  return created
}

const refusal = async (response: Response) => {
  const { detail } = await response.json<{ detail: { loc: string[]; msg: string }[] }>()
  return { status: response.status, loc: detail[0]?.loc, msg: detail[0]?.msg }
}

describe("POST /api/subscriptions", () => {
  it("shows the secret once, and keeps it and the address sealed", async () => {
    const created = await create({ url: "https://hooks.example.com/with-a-token" })
    expect(created.secret).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/)
    expect(created).toMatchObject({ state: "active", format: "signals", filter: {}, created_by: "anonymous" })
    const read = await subscription(created.id)
    expect(read).not.toHaveProperty("secret")
    expect(SubscriptionRecord.parse(read)).toEqual(read)
    expect(read.url).toBe("https://hooks.example.com/with-a-token")
    const [row] = await query<{ text: string }>(
      "select subscriptions::text as text from subscriptions where id = $1",
      [created.id],
    )
    expect(row?.text).not.toContain("with-a-token")
    expect(row?.text).not.toContain(created.secret.slice(6))
  })

  it.each([
    [{ url: "https://10.0.0.1/" }, ["body", "url"], /public address/],
    [{ url: "http://hooks.example.com/" }, ["body", "url"], /https/],
    [{ url: "" }, ["body", "url"], /at least 1/],
    [{ url: `https://hooks.example.com/${"a".repeat(2048)}` }, ["body", "url"], /at most 2048/],
    [{ name: "" }, ["body", "name"], /at least 1/],
    [{ name: "a".repeat(101) }, ["body", "name"], /at most 100/],
    [{ name: "two\nlines" }, ["body", "name"], /control characters/],
    [{ filter: { min_score: 2 } }, ["body", "filter", "min_score"], /less than or equal to 1/],
    [{ filter: { escalate_flag: 2 } }, ["body", "filter", "escalate_flag"], /./],
    [{ filter: { user: "a" } }, ["body", "filter"], /user/],
    [{ filter: { user_id: "\u0000" } }, ["body", "filter", "user_id"], /U\+0000/],
    [{ format: "xml" }, ["body", "format"], /./],
    [{ secret: "mine" }, ["body"], /secret/],
  ])("refuses %j", async (body, loc, msg) => {
    const response = await postJson("/api/subscriptions", {
      name: "a",
      url: "https://hooks.example.com/",
      ...body,
    })
    const refused = await refusal(response)
    expect(refused).toMatchObject({ status: 422, loc })
    expect(refused.msg).toMatch(msg)
  })

  it("refuses a second one of a name, also by a change", async () => {
    const [one, two] = [await create(), await create()]
    const again = await postJson("/api/subscriptions", { name: one.name, url: "https://hooks.example.com/" })
    expect(await refusal(again)).toMatchObject({ status: 422, loc: ["body", "name"] })
    expect(await refusal(await change(two.id, { name: one.name }))).toMatchObject({
      status: 422,
      loc: ["body", "name"],
    })
  })

  it("refuses more than there may be, however many come at once", async () => {
    const create = (index: number) =>
      postJson("/api/subscriptions", {
        name: `many ${index}`,
        url: "https://hooks.example.com/",
        filter: { context_window_id: "of no signal" },
      })
    const answers = []
    for (let start = 0; start < MAX_SUBSCRIPTIONS + 5; start += 15)
      answers.push(...(await Promise.all(Array.from({ length: 15 }, (_, index) => create(start + index)))))
    const [row] = await query<{ count: number }>("select count(*)::int4 as count from subscriptions")
    await query("delete from subscriptions where name like 'many %'")
    expect(row?.count).toBeLessThanOrEqual(MAX_SUBSCRIPTIONS)
    const refused = answers.filter(({ status }) => status !== 201)
    expect(refused.length).toBeGreaterThanOrEqual(5)
    for (const response of refused) expect([422, 503]).toContain(response.status)
  })
})

describe("a subscription", () => {
  it("is listed, changed and deleted", async () => {
    const { id } = await create({ filter: { escalate_flag: 1 } })
    const changed = await change(id, { name: "another", filter: { min_score: 0.5 } })
    expect(await changed.json()).toMatchObject({
      name: "another",
      filter: { min_score: 0.5 },
      state: "paused",
    })
    const { subscriptions } = await (await send("/api/subscriptions")).json<{
      subscriptions: SubscriptionRecord[]
    }>()
    expect(subscriptions.map((one) => one.id)).toContain(id)
    expect((await remove(id)).status).toBe(200)
    for (const response of [
      await send(`/api/subscriptions/${id}`),
      await remove(id),
      await change(id, { name: "b" }),
      await postJson(`/api/subscriptions/${id}/test`, ""),
      await postJson(`/api/subscriptions/${id}/secret`, {}),
      await postJson(`/api/subscriptions/${id}/resend`, { since: "2025-01-01" }),
    ])
      expect(response.status).toBe(404)
  })

  it("is not changed to an address that it must not have", async () => {
    const { id } = await create()
    expect(
      await refusal(await change(id, { url: "https://[::1]/".replace("::1", "fd00::1") })),
    ).toMatchObject({
      status: 422,
      loc: ["body", "url"],
    })
    expect((await subscription(id)).url).toBe("https://hooks.example.com/signals")
  })

  it("is tested by a signed call, whose answer changes nothing", async () => {
    const to = receiver()
    const { id, secret } = await create({ url: to.url })
    await to.reply([{ status: 500 }])
    expect(await (await postJson(`/api/subscriptions/${id}/test`, "")).json()).toMatchObject({
      status: 500,
      error: "HTTP 500",
    })
    expect(await (await postJson(`/api/subscriptions/${id}/test`, "")).json()).toMatchObject({
      status: 200,
      error: null,
    })
    const [first, second] = await to.calls()
    expect(new Webhook(secret).verify(second?.body ?? "", second?.headers ?? {})).toEqual({
      ...{ type: "test", subscription_id: id, signals: [] },
    })
    expect(first?.headers["webhook-id"]).not.toBe(second?.headers["webhook-id"])
    expect(await subscription(id)).toMatchObject({ failed_attempts: 0, last_answers: [] })
  })

  it("signs with both secrets while a rotation lasts, and with the new one afterwards", async () => {
    const to = receiver()
    const { id, secret: former } = await create({ url: to.url })
    const rotated = await (await postJson(`/api/subscriptions/${id}/secret`, { overlap_seconds: 60 })).json<{
      secret: string
    }>()
    await postJson(`/api/subscriptions/${id}/test`, "")
    await query("update subscriptions set previous_secret_until = now() where id = $1", [id])
    await postJson(`/api/subscriptions/${id}/test`, "")
    const [during, after] = await to.calls()
    const verify = (secret: string, call = during) =>
      new Webhook(secret).verify(call?.body ?? "", call?.headers ?? {})
    for (const secret of [former, rotated.secret]) expect(verify(secret)).toMatchObject({ type: "test" })
    expect(verify(rotated.secret, after)).toMatchObject({ type: "test" })
    expect(() => verify(former, after)).toThrow()
  })

  it("is resent from a time that is one", async () => {
    const { id } = await create()
    const refused = await refusal(await postJson(`/api/subscriptions/${id}/resend`, { since: "yesterday" }))
    expect(refused).toMatchObject({ status: 422, loc: ["body", "since"] })
    for (const since of ["1970-01-01T00:00:00Z", "2999-01-01T00:00:00Z"])
      expect((await postJson(`/api/subscriptions/${id}/resend`, { since })).status).toBe(200)
  })
})

describe("the routes of subscriptions", () => {
  const paths = [
    ["POST", ""],
    ["GET", ""],
    ["GET", "/0194694c-5e3b-7a3c-9d2e-5f1b8c6a4e70"],
    ["PATCH", "/0194694c-5e3b-7a3c-9d2e-5f1b8c6a4e70"],
    ["DELETE", "/0194694c-5e3b-7a3c-9d2e-5f1b8c6a4e70"],
    ["POST", "/0194694c-5e3b-7a3c-9d2e-5f1b8c6a4e70/test"],
    ["POST", "/0194694c-5e3b-7a3c-9d2e-5f1b8c6a4e70/secret"],
    ["POST", "/0194694c-5e3b-7a3c-9d2e-5f1b8c6a4e70/resend"],
  ] as const

  it.each(paths)("say that the setting is missing: %s %s", async (method, path) => {
    const response = await app.request(
      `/api/subscriptions${path}`,
      { method, ...(method !== "GET" && { body: "{}" }) },
      { ...bindings, SUBSCRIPTION_SECRET: "" },
    )
    expect([response.status, await response.json()]).toMatchObject([503, { code: "not_configured" }])
  })

  it.each(paths)("need the scope admin: %s %s", async (method, path) => {
    const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode("key"))
    const sha256 = new Uint8Array(digest).toHex()
    const API_KEYS = JSON.stringify([{ name: "k", sha256, scopes: ["ingest", "read", "bridge"] }])
    const response = await app.request(
      `/api/subscriptions${path}`,
      { method, headers: { Authorization: "Bearer key" }, ...(method !== "GET" && { body: "{}" }) },
      { ...bindings, OPEN_ACCESS: "false", API_KEYS },
    )
    expect(response.status).toBe(403)
  })
})

import { createHash } from "node:crypto"
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from "vitest"
import { type Storage, startStorage } from "../../setup/rig.ts"
import { type Isolate, type Isolates, startIsolates } from "./isolates.ts"

const ROOT = "root"
const API_KEYS = JSON.stringify([
  {
    name: ROOT,
    scopes: ["ingest", "read", "admin"],
    sha256: createHash("sha256").update(ROOT).digest("hex"),
  },
])

let storage: Storage
let all: Isolates

beforeAll(async () => {
  storage = await startStorage()
  const settings = { ...storage.bindings, OPEN_ACCESS: "false", API_KEYS, DATABASE_DEADLINE_MS: "2000" }
  all = await startIsolates(inject("bundle"), settings, 3)
})
afterAll(async () => {
  await all?.stop()
  await storage?.stop()
})
afterEach(() => storage.endpoint.faults.accept())

const at = (index: number) => all.isolates[index] as Isolate

async function make(limits: object) {
  const body = { name: `sender-${crypto.randomUUID()}`, scopes: ["ingest"], ...limits }
  const made = await at(0).send("/api/keys", ROOT, { method: "POST", body })
  expect(made.status, JSON.stringify(made.body)).toBe(201)
  return made.body as { id: string; key: string; name: string }
}

const send = (isolate: Isolate, key: string, count: number) =>
  isolate.send("/api/signals/batch", key, {
    method: "POST",
    body: { signals: Array.from({ length: count }, () => ({ context_window_id: "limited" })) },
  })

const leased = async (name: string) => {
  const [row] = await storage.query<{ signals: string }>("select signals from api_key_days where name = $1", [
    name,
  ])
  return Number(row?.signals ?? 0)
}

describe("a key with a limit of signals a day", () => {
  it("gets 429 in every isolate when it is used up, until the next day", async () => {
    const { id, key, name } = await make({ signals_per_day: 100 })
    const first = await send(at(0), key, 60)
    expect(first.status).toBe(200)
    expect(first.headers.get("RateLimit-Policy")).toContain('"signals-per-day";q=100;w=86400')
    await expect.poll(() => leased(name)).toBeGreaterThanOrEqual(60)
    expect((await send(at(1), key, 39)).status).toBe(200)
    await expect.poll(() => leased(name)).toBeGreaterThanOrEqual(99)
    expect((await send(at(0), key, 2)).status).toBe(200)
    await expect.poll(() => leased(name)).toBeGreaterThanOrEqual(100)
    const refused = await send(at(0), key, 2)
    expect([refused.status, refused.body.code]).toEqual([429, "rate_limited"])
    const untilMidnight = Math.ceil(
      (Date.UTC(new Date().getUTCFullYear(), new Date().getUTCMonth(), new Date().getUTCDate() + 1) -
        Date.now()) /
        1000,
    )
    expect(Math.abs(Number(refused.headers.get("Retry-After")) - untilMidnight)).toBeLessThan(5)
    const single = () =>
      at(0).send("/api/signals", key, { method: "POST", body: { context_window_id: "one" } })
    // What the isolate has leased is spent to its end.
    await expect.poll(async () => (await single()).status).toBe(429)

    // A higher limit is known at once in the isolate that sets it.
    const raised = await at(0).send(`/api/keys/${id}`, ROOT, {
      method: "PATCH",
      body: { signals_per_day: 1000 },
    })
    expect(raised.body).toMatchObject({ limits: { signals_per_day: 1000, bytes_per_day: null } })
    expect((await send(at(0), key, 2)).status).toBe(200)
    const removed = await at(0).send(`/api/keys/${id}`, ROOT, { method: "PATCH", body: {} })
    expect(removed.body).toMatchObject({ limits: { signals_per_day: null, bytes_per_day: null } })
  })

  it("is the limit of the caller, whichever of its keys it uses", async () => {
    const { id, key, name } = await make({ signals_per_day: 10 })
    const rotated = await at(0).send(`/api/keys/${id}/rotate`, ROOT, { method: "POST", body: {} })
    expect(rotated.body).toMatchObject({ limits: { signals_per_day: 10 } })
    expect((await send(at(0), key, 10)).status).toBe(200)
    await expect.poll(() => leased(name)).toBe(10)
    expect((await send(at(0), String(rotated.body.key), 1)).status).toBe(429)
  })

  it("of bytes counts the decoded body", async () => {
    const { key } = await make({ bytes_per_day: 1000 })
    expect((await send(at(0), key, 20)).status).toBe(200)
    await expect
      .poll(async () => (await send(at(0), key, 20)).body.detail)
      .toMatch(/^This caller may send 1000 bytes/)
  })

  it("has no leases of past days after the sweep", async () => {
    await storage.query("insert into api_key_days values ('old', current_date - 30, 1, 1)")
    await at(0).send("/test/scheduled", undefined)
    expect(await storage.query("select from api_key_days where name = 'old'")).toEqual([])
  })
})

describe("the usage of a key", () => {
  it("is counted from the ledger by day, also for its former key", async () => {
    const { id, key, name } = await make({})
    await send(at(0), key, 5)
    const rotated = await at(0).send(`/api/keys/${id}/rotate`, ROOT, { method: "POST", body: {} })
    await send(at(1), String(rotated.body.key), 7)
    const bad = { signals: [{ context_window_id: "a", signal_score: 2 }] }
    await at(0).send("/api/signals/batch", key, { method: "POST", body: bad })
    const usage = await at(2).send(`/api/keys/${id}/usage`, ROOT)
    const day = new Date().toISOString().slice(0, 10)
    expect(usage.body).toEqual({ name, days: [{ day, batches: 3, signals: 13, failed_signals: 1 }] })
    expect((await at(2).send(`/api/keys/${id}/usage?days=32`, ROOT)).status).toBe(422)
  })
})

import { createHash, randomBytes } from "node:crypto"
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from "vitest"
import { apiKeyOf } from "../../../src/keys/form.ts"
import { type Storage, startStorage } from "../../setup/rig.ts"
import { type Isolate, type Isolates, startIsolates } from "./isolates.ts"

const ROOT = "root"
const API_KEYS = JSON.stringify(
  Object.entries({ [ROOT]: ["ingest", "read", "bridge", "admin"], desk: ["admin", "ingest"] }).map(
    ([name, scopes]) => ({ name, scopes, sha256: createHash("sha256").update(name).digest("hex") }),
  ),
)

let storage: Storage
let all: Isolates
let fresh: Isolate[]

beforeAll(async () => {
  storage = await startStorage()
  const settings = { ...storage.bindings, OPEN_ACCESS: "false", API_KEYS, DATABASE_DEADLINE_MS: "2000" }
  all = await startIsolates(inject("bundle"), settings, 32)
  fresh = [...all.isolates]
})
afterAll(async () => {
  await all?.stop()
  await storage?.stop()
})
afterEach(() => storage.endpoint.faults.accept())

/** An isolate that has served no request. */
function isolate(): Isolate {
  const taken = fresh.pop()
  if (!taken) throw new Error("start more isolates")
  return taken
}

interface Made {
  id: string
  key: string
  name: string
}

async function make(at: Isolate, more: object = {}, by = ROOT): Promise<Made> {
  const body = { name: `sender-${crypto.randomUUID()}`, scopes: ["ingest", "read"], ...more }
  const made = await at.send("/api/keys", by, { method: "POST", body })
  expect(made.status, JSON.stringify(made.body)).toBe(201)
  return made.body as unknown as Made
}

const rotate = async (at: Isolate, { id }: Made, body = {}) =>
  (await at.send(`/api/keys/${id}/rotate`, ROOT, { method: "POST", body })).body as unknown as Made

const revoke = (at: Isolate, { id }: Made) => at.send(`/api/keys/${id}`, ROOT, { method: "DELETE" })

const list = "/api/signals?limit=1"
const statusOf = async (at: Isolate, key: string) => (await at.send(list, key)).status

/** Who the service takes the holder of a key for: needs no database. */
const isKnown = async (at: Isolate, key: string) => {
  const { status, body } = await at.send("/api/signals/batch", key, { method: "POST", body: { signals: [] } })
  return status === 200 ? true : body.code
}

const wrongKey = () => apiKeyOf(randomBytes(32))

describe("a key made at run time", () => {
  it("is shown once, kept as its SHA-256, and valid at once in every isolate", async () => {
    const [one, other] = [isolate(), isolate()]
    // Both have a list of the keys before this one is made.
    for (const at of [one, other]) expect(await statusOf(at, wrongKey())).toBe(401)
    const { id, key, name } = await make(one)
    expect([await statusOf(one, key), await statusOf(other, key)]).toEqual([200, 200])
    const record = await one.send(`/api/keys/${id}`, ROOT)
    expect(record.body).toMatchObject({ id, name, state: "active", created_by: ROOT, hint: key.slice(0, 12) })
    const everything = JSON.stringify([
      record.body,
      await storage.query("select api_keys::text from api_keys"),
      await (await all.bucket.get("access/keys"))?.text(),
      (await one.send("/api/keys", ROOT)).body,
      all.log,
    ])
    expect(everything).toContain(createHash("sha256").update(key).digest("hex"))
    expect(everything).not.toContain(key)
  })

  it("costs no statement when an isolate knows it", async () => {
    const at = isolate()
    const { id, key } = await make(at)
    expect(await isKnown(at, key)).toBe(true)
    // The note of its use is under way.
    await expect.poll(async () => (await at.send(`/api/keys/${id}`, ROOT)).body.last_used_on).not.toBeNull()
    const before = storage.endpoint.requests()
    for (let turn = 0; turn < 50; turn++) expect(await isKnown(at, key)).toBe(true)
    expect(storage.endpoint.requests() - before).toBe(0)
  })

  it("is refused in every isolate less than 60 seconds after it was revoked, also in those that know it", async () => {
    const [one, other] = [isolate(), isolate()]
    const made = await make(one)
    for (const at of [one, other]) expect(await isKnown(at, made.key)).toBe(true)
    expect((await revoke(one, made)).body).toMatchObject({ state: "revoked", revoked_by: ROOT })
    expect(await isKnown(one, made.key)).toBe("unauthorized")
    await other.pass(59)
    expect(await isKnown(other, made.key)).toBe("unauthorized")
    // To revoke it again changes nothing.
    expect((await revoke(other, made)).status).toBe(200)
  })

  it("is read again in the background while it is used", async () => {
    const [one, other] = [isolate(), isolate()]
    const made = await make(one)
    expect(await isKnown(other, made.key)).toBe(true)
    await revoke(one, made)
    await other.pass(31)
    await expect.poll(() => isKnown(other, made.key)).toBe("unauthorized")
  })

  it("ends when it expires, also where nothing is read", async () => {
    const at = isolate()
    const made = await make(at, { expires_at: new Date(Date.now() + 20_000).toISOString() })
    expect(await isKnown(at, made.key)).toBe(true)
    await at.pass(25)
    await storage.endpoint.faults.refuse()
    expect(await isKnown(at, made.key)).toBe("unauthorized")
  })

  it("cannot do what the key that makes or rotates it cannot", async () => {
    const at = isolate()
    const body = { name: "reader", scopes: ["ingest", "read"] }
    const refused = await at.send("/api/keys", "desk", { method: "POST", body })
    expect([refused.status, refused.body.detail]).toEqual([403, 'This key lacks the scope "read".'])
    const made = await make(at)
    const rotated = await at.send(`/api/keys/${made.id}/rotate`, "desk", { method: "POST", body: {} })
    expect(rotated.status).toBe(403)
    const admin = await make(at, { scopes: ["admin"] })
    const chain = await at.send("/api/keys", admin.key, { method: "POST", body })
    expect(chain.status).toBe(403)
    expect((await at.send("/api/keys", made.key)).status).toBe(403)
  })

  it("has a name that no other caller gets, also after it was revoked", async () => {
    const at = isolate()
    const made = await make(at)
    await revoke(at, made)
    const again = await at.send("/api/keys", ROOT, {
      method: "POST",
      body: { name: made.name, scopes: ["read"] },
    })
    expect([again.status, again.body.code]).toEqual([409, "key_conflict"])
  })
})

describe("the last use of a key", () => {
  it("is noted by one statement a day, isolate and key, and not during an outage", async () => {
    const [at, other] = [isolate(), isolate()]
    const made = await make(at)
    const lastUse = async () => (await at.send(`/api/keys/${made.id}`, ROOT)).body.last_used_on
    expect(await lastUse()).toBeNull()
    for (const from of [at, other]) expect(await isKnown(from, made.key)).toBe(true)
    const today = new Date().toISOString().slice(0, 10)
    await expect.poll(lastUse).toBe(today)
    const before = storage.endpoint.requests()
    for (let turn = 0; turn < 20; turn++) expect(await isKnown(at, made.key)).toBe(true)
    expect(storage.endpoint.requests() - before).toBe(0)
    await at.pass(24 * 60 * 60)
    expect(await isKnown(at, made.key)).toBe(true)
    await expect.poll(lastUse).not.toBe(today)
  })
})

describe("a rotation", () => {
  it("makes a second key of the same caller, and ends the first only when it is told", async () => {
    const [one, other] = [isolate(), isolate()]
    const first = await make(one)
    const request = {
      method: "POST",
      headers: { "Idempotency-Key": crypto.randomUUID() },
      body: { signals: [{ context_window_id: "rotated" }] },
    }
    const sent = await one.send("/api/signals/batch", first.key, request)
    const second = await rotate(one, first)
    expect(second).toMatchObject({ name: first.name, rotated_from: first.id })
    expect([await isKnown(other, first.key), await isKnown(other, second.key)]).toEqual([true, true])
    // A retry after the rotation is the same request of the same caller.
    const again = await other.send("/api/signals/batch", second.key, request)
    expect(again.headers.get("Idempotency-Replayed")).toBe("true")
    expect(again.body).toEqual(sent.body)
    await revoke(one, first)
    expect([await isKnown(one, first.key), await isKnown(one, second.key)]).toEqual(["unauthorized", true])
  })

  it("stops at two valid keys, and can end the former one at a time", async () => {
    const at = isolate()
    const first = await make(at)
    const second = await rotate(at, first, { former_expires_at: new Date(Date.now() + 30_000).toISOString() })
    const third = await at.send(`/api/keys/${second.id}/rotate`, ROOT, { method: "POST", body: {} })
    expect([third.status, third.body.code]).toEqual([409, "key_conflict"])
    await at.pass(31)
    expect([await isKnown(at, first.key), await isKnown(at, second.key)]).toEqual(["unauthorized", true])
  })

  it("brings back the caller of a key that has ended", async () => {
    const at = isolate()
    const first = await make(at)
    await revoke(at, first)
    const second = await rotate(at, first)
    expect([await isKnown(at, first.key), await isKnown(at, second.key)]).toEqual(["unauthorized", true])
  })
})

describe("while the database is away", () => {
  it("root keys and keys that an isolate knows go on, however long it takes", async () => {
    const at = all.withoutBucket
    const made = await make(at)
    expect(await isKnown(at, made.key)).toBe(true)
    await storage.endpoint.faults.refuse()
    for (const seconds of [0, 40, 600]) {
      await at.pass(seconds)
      expect([await isKnown(at, ROOT), await isKnown(at, made.key)]).toEqual([true, true])
    }
    const unknown = await at.send("/api/signals", wrongKey())
    expect([unknown.status, unknown.body.code]).toEqual([503, "key_not_checked"])
    expect(Number(unknown.headers.get("Retry-After"))).toBeGreaterThan(0)
    await storage.endpoint.faults.accept()
    await at.pass(10)
    expect(await isKnown(at, wrongKey())).toBe("unauthorized")
  })

  it("a new isolate knows the keys of the bucket, and says of others that it cannot tell", async () => {
    const [one, other] = [isolate(), isolate()]
    const [kept, revoked] = [await make(one), await make(one)]
    await revoke(one, revoked)
    await storage.postgres.kill()
    try {
      expect(await isKnown(other, kept.key)).toBe(true)
      expect(await isKnown(other, revoked.key)).toBe("key_not_checked")
      expect(await isKnown(other, wrongKey())).toBe("key_not_checked")
      expect(await isKnown(other, "not a key of ours")).toBe("unauthorized")
    } finally {
      await storage.postgres.restart()
    }
    await other.pass(10)
    await expect.poll(() => isKnown(other, revoked.key)).toBe("unauthorized")
  })

  it("a new isolate without a copy cannot tell, and accepts the key later", async () => {
    const [one, other] = [isolate(), isolate()]
    const made = await make(one)
    await all.bucket.delete("access/keys")
    await storage.endpoint.faults.refuse()
    expect(await isKnown(other, made.key)).toBe("key_not_checked")
    await storage.endpoint.faults.accept()
    await other.pass(10)
    expect(await isKnown(other, made.key)).toBe(true)
  })

  it("no key is made or revoked, and nothing else is said", async () => {
    const at = isolate()
    const made = await make(at)
    await storage.endpoint.faults.refuse()
    expect(await revoke(at, made)).toMatchObject({ status: 503 })
    const body = { name: "never", scopes: ["read"] }
    expect(await at.send("/api/keys", ROOT, { method: "POST", body })).toMatchObject({ status: 503 })
    await storage.endpoint.faults.accept()
    expect(await storage.query("select from api_keys where name = 'never'")).toEqual([])
  })
})

describe("the copy in the bucket", () => {
  it("has the keys that are valid, after changes at the same time in several isolates", async () => {
    const [one, other] = [isolate(), isolate()]
    const made = await Promise.all(Array.from({ length: 6 }, (_, turn) => make(turn % 2 ? one : other)))
    await Promise.all(made.slice(0, 3).map((key, turn) => revoke(turn % 2 ? one : other, key)))
    const live = await storage.query<{ id: string }>(
      "select id from api_keys where revoked_at is null and expires_at > now() order by id",
    )
    const copy = JSON.parse((await (await all.bucket.get("access/keys"))?.text()) ?? "")
    expect(copy.keys.map(({ id }: Made) => id)).toEqual(live.map(({ id }) => id))
  })

  it("is written again by the sweep", async () => {
    const at = isolate()
    const made = await make(at)
    await all.bucket.delete("access/keys")
    await at.send("/test/scheduled", undefined)
    expect(await (await all.bucket.get("access/keys"))?.text()).toContain(made.id)
  })
})

describe("a flood of wrong keys", () => {
  it("costs few statements, and no sender with a known key", async () => {
    const at = isolate()
    const { key } = await make(at)
    expect(await isKnown(at, key)).toBe(true)
    const before = storage.endpoint.requests()
    const startedAt = Date.now()
    for (let wave = 0; wave < 20; wave++) {
      const [known, ...others] = await Promise.all([
        isKnown(at, key),
        ...Array.from({ length: 19 }, () => isKnown(at, wrongKey())),
      ])
      expect(known).toBe(true)
      for (const code of others) expect(["unauthorized", "key_not_checked"]).toContain(code)
    }
    const seconds = (Date.now() - startedAt) / 1000
    expect(storage.endpoint.requests() - before).toBeLessThanOrEqual(5 + 2 * seconds)
  })

  it("of keys without the checksum costs nothing at all", async () => {
    const at = isolate()
    const before = storage.endpoint.requests()
    for (let turn = 0; turn < 20; turn++)
      expect(await isKnown(at, `si_live_${"a".repeat(43)}${turn.toString().padStart(6, "0")}`)).toBe(
        "unauthorized",
      )
    expect(storage.endpoint.requests() - before).toBe(0)
  })

  it("with one wrong key costs one statement in 30 seconds", async () => {
    const at = isolate()
    const wrong = wrongKey()
    const before = storage.endpoint.requests()
    for (let turn = 0; turn < 20; turn++) expect(await isKnown(at, wrong)).toBe("unauthorized")
    expect(storage.endpoint.requests() - before).toBe(1)
  })
})

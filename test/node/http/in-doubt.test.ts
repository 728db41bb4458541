import { describe, expect, it } from "vitest"
import { useEmptyTables, useRig } from "../../setup/hooks/rig.ts"

const rig = useRig({ DATABASE_DEADLINE_MS: "1500" })
useEmptyTables(rig)

interface Answer {
  status: number
  replayed: boolean
  body: { code?: string; detail?: string; transaction_id?: string; id?: number }
}

async function call(method: string, path: string, body?: unknown, key?: string): Promise<Answer> {
  const response = await fetch(`${rig.service.address}${path}`, {
    method,
    headers: { "Content-Type": "application/json", ...(key && { "Idempotency-Key": key }) },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  })
  return {
    status: response.status,
    replayed: response.headers.has("Idempotency-Replayed"),
    body: (await response.json()) as Answer["body"],
  }
}

/** Runs `work` while every statement commits and its answer is lost. */
async function withoutAnswers<T>(work: () => Promise<T>): Promise<T> {
  rig.endpoint.faults.loseAnswers = Number.POSITIVE_INFINITY
  try {
    return await work()
  } finally {
    rig.endpoint.faults.loseAnswers = 0
  }
}

const countOf = async (table: "signals" | "batches" | "erasures") =>
  (await rig.query(`table ${table}`)).length

const SIGNAL = { context_window_id: "c", raw_content: "x" }

describe.each([
  ["a batch", "/api/signals/batch", { signals: [SIGNAL] }, 200],
  ["a single signal", "/api/signals", SIGNAL, 201],
] as const)("%s whose answer is lost", (_, path, body, success) => {
  it("is to be sent again under its key, whose answer is that of the stored one", async () => {
    const key = crypto.randomUUID()
    const doubt = await withoutAnswers(() => call("POST", path, body, key))
    expect([doubt.status, doubt.body.code]).toEqual([503, "in_doubt"])
    expect(doubt.body.detail).toContain("Send it again under the same Idempotency-Key")
    const again = await call("POST", path, body, key)
    expect([again.status, again.replayed, await countOf("signals")]).toEqual([success, true, 1])
  })

  it("names no record that cannot answer for it, when an earlier request of its key was stored", async () => {
    const key = crypto.randomUUID()
    const first = await call("POST", path, body, key)
    expect(first.status).toBe(success)
    const doubt = await withoutAnswers(() => call("POST", path, body, key))
    expect([doubt.status, doubt.body.code]).toEqual([503, "in_doubt"])
    // The ledger has the batch under the id of the earlier request.
    expect(doubt.body.detail).not.toContain("/api/batches")
    expect((await call("POST", path, body, key)).body).toMatchObject(first.body)
    expect(await countOf("signals")).toBe(1)
  })

  it("is found in the ledger by the id of the answer, without a key", async () => {
    const doubt = await withoutAnswers(() => call("POST", path, body))
    expect([doubt.status, doubt.body.code]).toEqual([503, "in_doubt"])
    const [, named] = /GET (\/api\/batches\/\S+?)[\s,.]/.exec(doubt.body.detail ?? "") ?? []
    expect(named).toBe(`/api/batches/${doubt.body.transaction_id}`)
    expect(await call("GET", named ?? "")).toMatchObject({ status: 200, body: { state: "stored" } })
    expect(await countOf("signals")).toBe(1)
  })
})

describe("a stored signal that cannot be read afterwards", () => {
  /** Runs `work` while only the answer to its first statement arrives. */
  async function withFirstAnswer<T>(work: () => Promise<T>): Promise<T> {
    rig.endpoint.faults.spoil = ["no", ...Array(100).fill("cut")]
    try {
      return await work()
    } finally {
      rig.endpoint.faults.spoil = []
    }
  }

  it("is acknowledged with its id as a duplicate", async () => {
    const signal = { ...SIGNAL, dedupe_key: crypto.randomUUID() }
    const { id } = (await call("POST", "/api/signals", signal)).body
    const again = await withFirstAnswer(() => call("POST", "/api/signals", signal))
    expect(again).toMatchObject({ status: 200, body: { id, duplicate: true } })
  })

  it("is never denied under its Idempotency-Key", async () => {
    const key = crypto.randomUUID()
    const { body } = await call("POST", "/api/signals", SIGNAL, key)
    const again = await withFirstAnswer(() => call("POST", "/api/signals", SIGNAL, key))
    expect([again.status, again.body.code]).toEqual([503, "in_doubt"])
    expect((await call("POST", "/api/signals", SIGNAL, key)).body).toEqual(body)
    expect(await countOf("signals")).toBe(1)
  })
})

/** Makes dead letters that a replay can store. */
async function curedDeadLetters(count: number): Promise<number[]> {
  await call(
    "POST",
    "/webhooks/kafka",
    Array.from({ length: count }, () => ({ context_window_id: "c", signal_score: 2 })),
  )
  await rig.query(`update dead_letters set record = replace(record, ':2', ':1')`)
  const rows = await rig.query<{ id: string }>("select id from dead_letters where state = 'waiting'")
  expect(rows.length).toBe(count)
  return rows.map(({ id }) => Number(id))
}

describe("a change whose answer is lost", () => {
  /** What no request may say that was carried out. */
  const DENIAL = /nothing/i

  it("of one dead letter may be replayed again, and is stored once", async () => {
    const [id] = await curedDeadLetters(1)
    const path = `/api/dead-letters/${id}/replay`
    const doubt = await withoutAnswers(() => call("POST", path))
    expect([doubt.status, doubt.body.detail]).toEqual([503, expect.not.stringMatching(DENIAL)])
    expect(await call("POST", path)).toMatchObject({ status: 200, body: { replayed: true } })
    expect(await countOf("signals")).toBe(1)
  })

  it("of many dead letters may be replayed again, and is stored once", async () => {
    const ids = await curedDeadLetters(3)
    const path = `/api/dead-letters/replay?ids=${ids.join()}`
    const doubt = await withoutAnswers(() => call("POST", path))
    expect([doubt.status, doubt.body.detail]).toEqual([503, expect.not.stringMatching(DENIAL)])
    expect(await call("POST", path)).toMatchObject({ status: 200, body: { replayed_count: 3 } })
    expect(await countOf("signals")).toBe(3)
  })

  it("of an erasure is not denied, and its key finds it", async () => {
    const key = crypto.randomUUID()
    const erase = () => call("POST", "/api/erasures", { user_id: "u" }, key)
    const doubt = await withoutAnswers(erase)
    expect([doubt.status, doubt.body.detail]).toEqual([503, expect.not.stringMatching(DENIAL)])
    expect(await countOf("erasures")).toBe(1)
    expect(await erase()).toMatchObject({ status: 202, replayed: true })
    expect(await countOf("erasures")).toBe(1)
  })

  it("of a dead letter that is discarded is not denied", async () => {
    const [id] = await curedDeadLetters(1)
    const doubt = await withoutAnswers(() => call("DELETE", `/api/dead-letters/${id}`))
    expect([doubt.status, doubt.body.detail]).toEqual([503, expect.not.stringMatching(DENIAL)])
  })
})

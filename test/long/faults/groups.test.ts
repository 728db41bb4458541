import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest"
import { type Rig, startRig } from "../../setup/rig.ts"

/** A number that passes every rule and that only Postgres refuses. */
const TOO_LONG_FOR_POSTGRES = "9".repeat(131_073)

let rig: Rig

beforeAll(async () => {
  rig = await startRig()
})
afterAll(() => rig?.stop())
beforeEach(async () => {
  await rig.query("truncate signals, batches, dedupe_keys restart identity")
})

interface Sent {
  status: number
  body: {
    id: number
    context_window_id?: string
    raw_content?: string
    transaction_id: string
    duplicate?: true
  }
}

async function single(
  signal: string,
  more: { headers?: Record<string, string>; signal?: AbortSignal } = {},
): Promise<Sent> {
  const response = await fetch(`${rig.service.address}/api/signals`, {
    method: "POST",
    body: signal,
    ...more,
    headers: { "Content-Type": "application/json", ...more.headers },
  })
  return { status: response.status, body: (await response.json()) as Sent["body"] }
}

const text = (conversation: string, more: object = {}) =>
  JSON.stringify({ context_window_id: conversation, ...more })

/** Sends again what the service refuses on a busy machine: a 503 says that nothing was stored. */
async function untilTaken(send: () => Promise<Sent>): Promise<Sent> {
  for (;;) {
    const sent = await send()
    if (sent.status !== 503) return sent
    await new Promise((resolve) => setTimeout(resolve, 1000))
  }
}

/** Sends many at once, so that requests meet in groups; the database answers late, so that they do. */
async function together(sends: readonly (() => Promise<Sent>)[]): Promise<Sent[]> {
  rig.endpoint.faults.latencyMs = 100
  const answers = await Promise.all(sends.map(untilTaken))
  rig.endpoint.faults.latencyMs = 0
  return answers
}

const stored = () =>
  rig.query<{ id: string; context_window_id: string; ledger: string; total: number }>(
    `select s.id, context_window_id, b.transaction_id as ledger, b.total_count as total
     from signals s join batches b on b.transaction_id = s.transaction_id and b.first_signal_id = s.id`,
  )

describe("128 single signals at once", () => {
  it("share statements, and each has its own id, ledger row and answer", async () => {
    const sent = await together(
      Array.from(
        { length: 128 },
        (_, index) => () => single(text(`c-${index}`, { raw_content: `text ${index}` })),
      ),
    )
    for (const [index, { status, body }] of sent.entries()) {
      expect(status).toBe(201)
      expect([body.context_window_id, body.raw_content]).toEqual([`c-${index}`, `text ${index}`])
    }
    const rows = await stored()
    expect(
      new Map(rows.map((row) => [row.context_window_id, [Number(row.id), row.ledger, row.total]])),
    ).toEqual(new Map(sent.map(({ body }) => [body.context_window_id, [body.id, body.transaction_id, 1]])))
    // Transactions that wrote more than one ledger row are groups.
    const [groups] = await rig.query<{ transactions: number }>(
      "select count(distinct xmin::text)::int4 as transactions from batches",
    )
    expect(groups?.transactions).toBeLessThan(64)
  })

  it("signals with the same dedupe_key are one signal and duplicates of it", async () => {
    const sent = await together(
      Array.from(
        { length: 60 },
        (_, index) => () => single(text(`c-${index}`, { dedupe_key: `k-${index % 3}` })),
      ),
    )
    expect(sent.filter(({ status }) => status === 201)).toHaveLength(3)
    const ids = sent.map(({ body }, index) => `${index % 3}:${body.id}`)
    expect(new Set(ids).size).toBe(3)
    expect(await rig.query("select count(*)::int4 as signals from signals")).toEqual([{ signals: 3 }])
  })

  it("requests with the same Idempotency-Key are stored once, and all get the same answer", async () => {
    const sends = Array.from({ length: 60 }, (_, index) => () => {
      const key = `order-${index % 3}`
      return single(text(key), { headers: { "Idempotency-Key": key } })
    })
    const sent = await together(sends)
    expect(new Set(sent.map(({ status, body }) => `${status} ${body.id}`)).size).toBe(3)
    expect(await rig.query("select count(*)::int4 as signals from signals")).toEqual([{ signals: 3 }])
  })

  it("are stored, except the one that the database refuses", async () => {
    const bad = `{"context_window_id":"bad","payload":{"n":${TOO_LONG_FOR_POSTGRES}}}`
    const sent = await together(
      Array.from({ length: 64 }, (_, index) => () => single(index % 16 === 7 ? bad : text(`c-${index}`))),
    )
    for (const [index, { status }] of sent.entries())
      expect(status, `${index}`).toBe(index % 16 === 7 ? 422 : 201)
    expect(await rig.query("select count(*)::int4 as signals from signals")).toEqual([{ signals: 60 }])
  })

  it("are stored once or not at all when callers disconnect, and the others get their answers", async () => {
    const gone = new AbortController()
    rig.endpoint.faults.latencyMs = 60
    const leaving = Array.from({ length: 64 }, (_, index) =>
      single(text(`gone-${index}`), { signal: gone.signal }).catch(() => undefined),
    )
    const staying = Array.from({ length: 64 }, (_, index) => untilTaken(() => single(text(`stays-${index}`))))
    setTimeout(() => gone.abort(), 90)
    await Promise.all(leaving)
    const sent = await Promise.all(staying)
    rig.endpoint.faults.latencyMs = 0
    expect(sent.map(({ status }) => status)).toEqual(sent.map(() => 201))
    const rows = await rig.query<{ name: string; count: number }>(
      "select context_window_id as name, count(*)::int4 as count from signals group by 1",
    )
    expect(rows.filter(({ name }) => name.startsWith("stays"))).toHaveLength(64)
    expect(rows.filter(({ count }) => count !== 1)).toEqual([])
  })
})

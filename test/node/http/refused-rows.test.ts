import { createHash } from "node:crypto"
import { beforeEach, describe, expect, it } from "vitest"
import { useEmptyTables, useRig } from "../../setup/hooks/rig.ts"

const CALLERS = ["good", "bad"] as const

const rig = useRig({
  OPEN_ACCESS: "false",
  // Only counts of statements are tested here, on machines of any speed.
  DATABASE_DEADLINE_MS: "120000",
  API_KEYS: JSON.stringify(
    CALLERS.map((name) => ({
      name,
      sha256: createHash("sha256").update(name).digest("hex"),
      scopes: ["ingest"],
    })),
  ),
})
useEmptyTables(rig)
beforeEach(() => {
  rig.endpoint.faults.latencyMs = 0
})

/** A signal that passes every rule, with a number that only Postgres refuses. */
const REFUSED = `{"context_window_id":"refused","payload":{"n":${"9".repeat(131_073)}}}`
const GOOD = '{"context_window_id":"good"}'

/** Sends again what the service refuses on a busy machine before any statement. */
async function post(caller: (typeof CALLERS)[number], path: string, body: string): Promise<Response> {
  for (;;) {
    const response = await fetch(`${rig.service.address}${path}`, {
      method: "POST",
      headers: { "Content-Type": "application/json", Authorization: `Bearer ${caller}` },
      body,
    })
    if (response.status !== 503) return response
    await new Promise((resolve) => setTimeout(resolve, 1000))
  }
}

/** The statements that the database has got since the last call. */
function statementCounter(): () => number {
  let before = rig.endpoint.requests()
  return () => {
    const since = rig.endpoint.requests() - before
    before += since
    return since
  }
}

describe("a row that only the database refuses", () => {
  it("costs a batch of 10,000 one more statement, and the others are stored", async () => {
    const signals = Array.from({ length: 10_000 }, (_, index) => (index === 7654 ? REFUSED : GOOD))
    const statements = statementCounter()
    const response = await post("bad", "/api/signals/batch", `{"signals":[${signals.join()}]}`)
    expect([response.status, statements()]).toEqual([200, 2])
    const { successful_count, results } = (await response.json()) as {
      successful_count: number
      results: { success: boolean; index: number; code?: string }[]
    }
    expect([successful_count, results.filter(({ success }) => !success)]).toEqual([
      9999,
      [expect.objectContaining({ index: 7654, code: "refused_by_database" })],
    ])
    expect(await rig.query("select count(*)::int4 as count from signals")).toEqual([{ count: 9999 }])
  })

  it("costs the batches of other callers no statement of their own", async () => {
    const sendRefused = async () => expect((await post("bad", "/api/signals", REFUSED)).status).toBe(422)
    // From the first one on, the service writes what this caller sends alone.
    await sendRefused()
    const statements = statementCounter()
    await sendRefused()
    const alone = statements()
    // While the database answers late, requests wait for each other, and share statements.
    rig.endpoint.faults.latencyMs = 50
    const others = Array.from({ length: 64 }, () => post("good", "/api/signals", GOOD))
    const refused = 5
    for (let sent = 0; sent < refused; sent++) await sendRefused()
    expect((await Promise.all(others)).map(({ status }) => status)).toEqual(others.map(() => 201))
    // Each of their signals was in one statement, so there are as many as transactions.
    const [stored] = await rig.query<{ signals: number; transactions: number }>(
      `select count(*)::int4 as signals, count(distinct xmin::text)::int4 as transactions from batches where caller = 'good'`,
    )
    expect(statements() - refused * alone).toBe(stored?.transactions)
    expect([stored?.signals, (stored?.transactions ?? 64) < 32]).toEqual([64, true])
  })
})

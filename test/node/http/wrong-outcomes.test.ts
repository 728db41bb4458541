import { beforeAll, beforeEach, describe, expect, it } from "vitest"
import { useEmptyTables, useRig } from "../../setup/hooks/rig.ts"

const rig = useRig()
useEmptyTables(rig)

interface Answer {
  status: number
  body: { code?: string; detail?: string; transaction_id?: string; replayed?: boolean }
}

async function call(method: string, path: string, body?: unknown): Promise<Answer> {
  const response = await fetch(`${rig.service.address}${path}`, {
    method,
    headers: { "Content-Type": "application/json" },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  })
  return { status: response.status, body: (await response.json()) as Answer["body"] }
}

const setIds = (text: string) => rig.query(`alter sequence signals_id_seq minvalue -1000000 ${text}`)

beforeAll(() =>
  rig.query("create table signals_negative partition of signals for values from (minvalue) to (0)"),
)
beforeEach(() => setIds("increment by 1 restart with 1"))

/** A database that gives wrong ids: they descend, and are below zero. */
const giveWrongIds = () => setIds("increment by -1 restart with -5")

/** Dead letters whose records can be stored by now. */
async function deadLetters(count: number): Promise<number[]> {
  const records = Array.from({ length: count }, (_, index) => ({ conversation: `c${index}` }))
  expect((await call("POST", "/webhooks/kafka", records)).status).toBe(200)
  await rig.query("update dead_letters set record = replace(record, 'conversation', 'context_window_id')")
  const rows = await rig.query<{ id: string }>("select id from dead_letters order by id")
  return rows.map(({ id }) => Number(id))
}

const SIGNAL = { context_window_id: "c" }

describe("an answer that its database makes wrong is not sent, but 500 with the batch, which is in the ledger:", () => {
  it.each<[what: string, send: (ids: number[]) => Promise<Answer>]>([
    ["a batch", () => call("POST", "/api/signals/batch", { signals: [SIGNAL, SIGNAL] })],
    ["a single signal", () => call("POST", "/api/signals", SIGNAL)],
    ["a delivery of records", () => call("POST", "/webhooks/kafka", [SIGNAL, SIGNAL])],
    ["a replayed dead letter", ([id]) => call("POST", `/api/dead-letters/${id}/replay`)],
    ["replayed dead letters", (ids) => call("POST", `/api/dead-letters/replay?ids=${ids}`)],
  ])("%s", async (_, send) => {
    const ids = await deadLetters(2)
    await giveWrongIds()
    const { status, body } = await send(ids)
    expect([status, body.code]).toEqual([500, "invariant_violated"])
    expect(body.detail).toContain("does not follow the one before")
    const [batch] = await rig.query("select state from batches where transaction_id = $1", [
      body.transaction_id,
    ])
    expect(batch).toEqual({ state: "stored" })
    expect(rig.service.log.join("\n")).toContain("a batch has a wrong outcome: the id of signal 0")
  })

  it("and the same request is answered where the database gives right ids", async () => {
    const ids = await deadLetters(2)
    expect((await call("POST", "/webhooks/kafka", [SIGNAL, SIGNAL])).status).toBe(200)
    expect((await call("POST", `/api/dead-letters/replay?ids=${ids}`)).body).toMatchObject({
      replayed_count: 2,
      failed_count: 0,
    })
  })
})

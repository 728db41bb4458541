import { describe, expect, it } from "vitest"
import type { BatchAnswer } from "../../../src/signals/responses.ts"
import { useEmptyTables, useRig } from "../../setup/hooks/rig.ts"

/*
 * On bare workerd, since the test runner's workerd has `no_handle_cross_request_promise_resolution`: there a
 * request that is woken by another one goes on in the other's context.
 */
const rig = useRig()
useEmptyTables(rig)

/** Sends a batch, again after a 503, as a sender does. */
async function postBatch(signals: object[], headers: Record<string, string> = {}) {
  for (;;) {
    const response = await fetch(`${rig.service.address}/api/signals/batch`, {
      method: "POST",
      headers: { "Content-Type": "application/json", ...headers },
      body: JSON.stringify({ signals }),
    })
    const answer = (await response.json()) as BatchAnswer
    if (response.status !== 503) return { status: response.status, headers: response.headers, answer }
  }
}

const countOf = async (conversation: string) => {
  const [row] = await rig.query<{ count: number }>(
    "select count(*)::int4 as count from signals where context_window_id = $1",
    [conversation],
  )
  return row?.count
}

describe("a batch sent again under its Idempotency-Key", () => {
  it("is stored once by 50 requests at the same time, which all get the same answer", async () => {
    const signals = Array.from({ length: 20 }, (_, index) => ({
      context_window_id: "one",
      signal_score: index === 1 ? 5 : 0.5,
    }))
    const headers = { "Idempotency-Key": crypto.randomUUID() }
    const sent = await Promise.all(Array.from({ length: 50 }, () => postBatch(signals, headers)))
    expect(new Set(sent.map(({ status }) => status))).toEqual(new Set([200]))
    expect(new Set(sent.map(({ answer }) => JSON.stringify(answer))).size).toBe(1)
    expect(sent.filter(({ headers }) => headers.has("Idempotency-Replayed")).length).toBe(49)
    expect(await countOf("one")).toBe(19)
  })
})

describe("signals sent again under their dedupe keys", () => {
  it("are stored once by 20 concurrent batches that have the same keys in other orders", async () => {
    const keys = Array.from({ length: 30 }, () => crypto.randomUUID() as string)
    const orders = Array.from({ length: 20 }, (_, turn) => [...keys.slice(turn), ...keys.slice(0, turn)])
    const sent = await Promise.all(
      orders.map((order) => postBatch(order.map((key) => ({ context_window_id: "keyed", dedupe_key: key })))),
    )
    const idsOfKey = new Map(keys.map((key) => [key, new Set<number | null>()]))
    for (const [turn, { answer }] of sent.entries())
      for (const { index, signal_id } of answer.results)
        idsOfKey.get(orders[turn]?.[index] ?? "")?.add(signal_id)
    expect([...idsOfKey.values()].map((ids) => ids.size)).toEqual(keys.map(() => 1))
    expect(await countOf("keyed")).toBe(30)
  })
})

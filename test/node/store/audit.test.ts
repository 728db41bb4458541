import { execFile } from "node:child_process"
import { describe, expect, it } from "vitest"
import { SignalClient } from "../../../src/client/index.ts"
import type { AuditPage } from "../../../src/store/audit/records.ts"
import { useEmptyTables, useRig } from "../../setup/hooks/rig.ts"
import { bareEnvironment, commandLine } from "../cli/command-line.ts"

const TOO_LONG_FOR_POSTGRES = "9".repeat(131_073)

const rig = useRig()
useEmptyTables(rig)

const client = () => new SignalClient({ url: rig.service.address })

function signals(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const env = bareEnvironment({ SIGNAL_INGEST_URL: rig.service.address })
  return new Promise((resolve) => {
    execFile(process.execPath, commandLine("audit", ...args), { env }, (error, out, err) =>
      resolve({ code: error ? Number(error.code) : 0, out, err }),
    )
  })
}

/** Everything that an audit finds, in pages of `limit` rows. */
async function audited(limit = 1000) {
  const sum = {
    checked: { signals: 0, batches: 0, keys: 0 },
    absent: 0,
    mismatches: [] as AuditPage["mismatches"],
  }
  for await (const page of client().audit({ limit })) {
    sum.checked[page.part] += page.checked
    sum.absent += page.absent
    expect(page.mismatch_count).toBe(page.mismatches.length)
    sum.mismatches.push(...(page.mismatches as AuditPage["mismatches"]))
  }
  return sum
}

const kinds = async (limit?: number) => (await audited(limit)).mismatches.map(({ kind }) => kind).sort()

const one = (more = {}) => ({ context_window_id: "a", ...more })

/** One batch of every way in which signals are stored. @returns the transaction ids */
async function storeAll(): Promise<string[]> {
  const sent = [
    await client().createBatch([one(), one(), one()]),
    // Some break a rule, some are duplicates, and a whole batch is one.
    await client().createBatch([
      one({ dedupe_key: "k1" }),
      one({ signal_score: 2 }),
      one({ dedupe_key: "k1" }),
      one(),
    ]),
    await client().createBatch([one({ dedupe_key: "k1" })]),
    await client().createBatch([one({ signal_score: 2 })]),
  ]
  // By halves: the database refuses the one in the middle.
  const refused = await fetch(`${rig.service.address}/api/signals/batch`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: `{"signals":[{"context_window_id":"a","dedupe_key":"k2"},{"context_window_id":"a"},{"context_window_id":"a","payload":{"n":${TOO_LONG_FOR_POSTGRES}}},{"context_window_id":"a","dedupe_key":"k1"},{"context_window_id":"a"}]}`,
  })
  sent.push((await refused.json()) as never)
  const scored = sent[0]?.results.map(({ signal_id }) => ({ signal_id, signal_score: 0.9 })).reverse()
  await fetch(`${rig.service.address}/api/scores`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ scores: [...(scored ?? []), { signal_id: 999_999, signal_score: 1 }] }),
  })
  await Promise.all(
    Array.from({ length: 10 }, () => client().createBatch([one(), one({ dedupe_key: crypto.randomUUID() })])),
  )
  return sent.map(({ transaction_id }) => transaction_id ?? "")
}

describe("an audit", () => {
  it("finds nothing in what the service stored, erased and changed, in pages of any size", async () => {
    await storeAll()
    const user = { user_id: `u-${crypto.randomUUID()}` }
    await client().createBatch([one(user), one(), one({ ...user, dedupe_key: "k3" })])
    const { id } = await client().erase(user)
    await expect.poll(async () => (await client().erasure(id))?.state).toBe("done")
    const whole = await audited()
    expect(whole.mismatches).toEqual([])
    const [counts] = await rig.query<{ signals: number; batches: number; keys: number }>(
      `select (select count(*) from signals)::int4 as signals, (select count(*) from batches)::int4 as batches,
         (select count(*) from dedupe_keys)::int4 as keys`,
    )
    expect(whole.checked).toEqual(counts)
    // Two erased signals, and the ids of two duplicates.
    expect(whole.absent).toBe(4)
    for (const limit of [1, 2, 7]) expect(await audited(limit)).toEqual(whole)
  })

  it.each<[kind: string, change: string]>([
    ["signal_without_batch", "delete from batches where transaction_id = '$1'"],
    [
      "signal_without_batch",
      "update batches set state = 'failed', failed_count = total_count, failures = '[]', signal_ids = '' where transaction_id = '$1'",
    ],
    [
      "signal_outside_batch",
      "update batches set last_signal_id = first_signal_id, signal_ids = first_signal_id || ':1', total_count = 1 where transaction_id = '$1'",
    ],
    ["signal_without_key", "delete from dedupe_keys where key_hash = dedupe_key_hash('k1')"],
    ["batch_counts", "update batches set total_count = 4 where transaction_id = '$1'"],
    ["batch_counts", "update batches set failed_count = 1 where transaction_id = '$1'"],
    ["batch_counts", "update batches set signal_ids = first_signal_id || ':2' where transaction_id = '$1'"],
    [
      "batch_ids",
      "update batches set signal_ids = (first_signal_id + 1) || ':2,' || first_signal_id || ':1' where transaction_id = '$1'",
    ],
    ["batch_ids", "update batches set first_signal_id = first_signal_id + 1 where transaction_id = '$1'"],
    ["batch_rows", "update batches set signal_ids = first_signal_id || ':2,0:1' where transaction_id = '$1'"],
    ["key_of_another_signal", "update signals set dedupe_key = 'k9' where dedupe_key = 'k1'"],
    ["key_of_another_signal", "update signals set dedupe_key = null where dedupe_key = 'k1'"],
  ])("finds a %s after %s", async (kind, change) => {
    const [first = ""] = await storeAll()
    await rig.query(change.replaceAll("$1", first))
    const found = await kinds()
    expect(found).toContain(kind)
    expect(await kinds(2)).toEqual(found)
    const ended = await signals("--quiet")
    expect(ended.code).toBe(1)
    expect(ended.out).toContain(kind)
  })

  it("goes on while others write, and finds nothing", async () => {
    let isDone = false
    const writers = Array.from({ length: 4 }, async () => {
      while (!isDone) await client().createBatch([one(), one({ dedupe_key: crypto.randomUUID() })])
    })
    for (let turn = 0; turn < 10; turn++) expect(await kinds(50)).toEqual([])
    isDone = true
    await Promise.all(writers)
  })

  it("continues from a cursor, of any part, and refuses another text", async () => {
    await storeAll()
    const [, second] = await rig.query<{ transaction_id: string }>(
      "select transaction_id from batches order by 1",
    )
    const { code, out } = await signals("--after", `batches:${second?.transaction_id}`)
    expect(code).toBe(0)
    const [{ count } = { count: 0 }] = await rig.query<{ count: number }>(
      "select count(*)::int4 as count from batches",
    )
    expect(out).toMatch(
      new RegExp(`^0 signals, ${count - 2} batches, \\d+ dedupe keys checked, 0 mismatches\\.\n$`),
    )
    for (const cursor of ["latest", "signals:x", "batches:7", "keys:", "other:1"])
      expect((await fetch(`${rig.service.address}/api/audit?cursor=${cursor}`)).status, cursor).toBe(422)
    expect((await signals("--after", "nonsense")).code).toBe(2)
  })
})

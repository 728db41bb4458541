import { afterAll, beforeAll, expect, inject, it } from "vitest"
import { type Storage, startStorage } from "../../setup/rig.ts"
import { type Isolate, type Isolates, startIsolates } from "../access/isolates.ts"

let storage: Storage
let all: Isolates
let service: Isolate

beforeAll(async () => {
  storage = await startStorage()
  all = await startIsolates(inject("bundle"), storage.bindings, 1)
  service = all.isolates[0] as Isolate
})
afterAll(async () => {
  await all?.stop()
  await storage?.stop()
})

/** The lines of one sweep about the ledger. */
async function sweep(): Promise<{ event: string; count?: number; kind?: string; error?: string }[]> {
  const before = all.log.length
  await service.send("/test/scheduled", undefined)
  await expect
    .poll(() => all.log.slice(before).some((line) => line.includes('"event":"scheduled"')))
    .toBe(true)
  return all.log
    .slice(before)
    .filter((line) => line.includes('"event":"ledger_'))
    .map((line) => JSON.parse(line))
}

const store = (count: number) =>
  service.send("/api/signals/batch", undefined, {
    method: "POST",
    body: {
      signals: Array.from({ length: count }, () => ({
        context_window_id: "a",
        dedupe_key: crypto.randomUUID(),
      })),
    },
  })

it("the hourly sweep checks a part of the ledger in turn, and names what differs", async () => {
  await store(3000)
  await store(3000)
  // 5 pages of 1,000 of the signals and of the keys, and both batches.
  expect(await sweep()).toMatchObject([{ event: "ledger_sampled", count: 10_002 }])
  // The rest, then from the beginning again.
  expect(await sweep()).toMatchObject([{ event: "ledger_sampled", count: 2002 }])
  await storage.query("delete from dedupe_keys where signal_id = 5")
  expect(await sweep()).toMatchObject([
    { event: "ledger_sampled", count: 10_002 },
    { event: "ledger_mismatch", kind: "signal_without_key", signal_id: 5 },
    { event: "ledger_mismatch", error: "the ledger has 1 mismatches; signals audit lists them" },
  ])
})

import { createHash } from "node:crypto"
import { readdir } from "node:fs/promises"
import { describe, expect, it } from "vitest"
import {
  BatchProcessor,
  type ProcessorOptions,
  SignalClient,
  type Undelivered,
} from "../../../../src/client/index.ts"
import { openSpool } from "../../../../src/client/spool/spool.ts"
import { storedNumbers, upTo, useEmptyTables, useFolder, useProxy, useRig } from "../../../setup/hooks/rig.ts"

const keyOf = (name: string) => ({
  name,
  sha256: createHash("sha256").update(name).digest("hex"),
  scopes: ["read", "ingest"],
})
const API_KEYS = JSON.stringify([keyOf("key-a"), keyOf("key-b")])
const rig = useRig({ OPEN_ACCESS: "false", API_KEYS })
const proxy = useProxy(rig)
const folder = useFolder()
useEmptyTables(rig)

const signal = (index: number, more: object = {}) => ({
  context_window_id: "conv-drain",
  raw_content: String(index),
  ...more,
})
const stored = () => storedNumbers(rig)
const files = async () => (await readdir(folder.path)).filter((name) => name.endsWith(".spool"))

let away = false
const client = (more: object = {}) =>
  new SignalClient({
    url: proxy.address,
    key: "key-a",
    deadlineMs: 3000,
    fetch: (url, init) => fetch(away ? "http://127.0.0.1:2" : url, init),
    ...more,
  })
const undelivered: Undelivered[] = []
const start = async (options: ProcessorOptions = {}, made = client()) => {
  undelivered.length = 0
  return new BatchProcessor(made, {
    spool: await openSpool(folder.path, { maxBytes: 1024 ** 2 }),
    onUndelivered: (batch) => undelivered.push(batch),
    ...options,
  })
}

describe("a spool that an outage has filled", () => {
  it("is sent when the service is back, and accepts signals again, without a restart", async () => {
    away = true
    const processor = await start()
    const notes = { diagnostic_notes: "x".repeat(20_000) }
    let accepted = 0
    let words = ""
    while (words === "")
      await processor.add(signal(accepted, notes)).then(
        () => accepted++,
        (error: Error) => {
          words = error.message
        },
      )
    expect(words).toContain("It has room again when the service has stored its signals.")
    away = false
    await processor.flush()
    await processor.add(signal(accepted))
    await processor.close()
    expect(await stored()).toEqual(upTo(accepted + 1))
    expect([undelivered, await files()]).toEqual([[], []])
  })

  it("accepts far more than the memory holds, and sends all of it once", async () => {
    away = true
    const processor = await start({ maxBuffered: 50, maxCount: 10 })
    // Beyond the memory, add would wait for ever if the batches stayed there.
    for (let from = 0; from < 1000; from += 50)
      await Promise.all(upTo(50).map((index) => processor.add(signal(from + index))))
    away = false
    await processor.flush()
    expect(await stored()).toEqual(upTo(1000))
    await processor.close()
    expect([undelivered, await files()]).toEqual([[], []])
  })

  it("sends other batches although one is refused every time", async () => {
    const processor = await start(
      { maxCount: 1, maxInFlight: 1, closeDeadlineMs: 500 },
      client({
        fetch: (url: string, init: RequestInit) =>
          String(init.body).includes('"poison"')
            ? Promise.resolve(new Response("{}", { status: 500 }))
            : fetch(url, init),
      }),
    )
    away = false
    await processor.add({ context_window_id: "poison", raw_content: "1000" })
    for (const index of upTo(20)) await processor.add(signal(index))
    await expect.poll(stored).toEqual(upTo(20))
    await expect(processor.flush({ deadlineMs: 1 })).rejects.toThrow("they stay accepted")
    await processor.close()
    expect(undelivered).toMatchObject([{ count: 1, kept: true, signals: [] }])
  }, 120_000)
})

describe("batches that another caller has sent", () => {
  /** Leaves two batches in doubt: stored, and every answer lost. */
  const leave = async (more: object = {}) => {
    away = false
    proxy.mishaps.push(...upTo(100).map(() => ({ kind: "lose" as const })))
    const first = await start({ maxCount: 5, closeDeadlineMs: 500 }, client({ key: "key-a" }))
    for (const index of upTo(10)) await first.add(signal(index, more))
    await first.close()
    expect(undelivered.map(({ kept }) => kept)).toEqual([true, true])
    proxy.mishaps.length = 0
    expect(new Set(await stored())).toEqual(new Set(upTo(10)))
  }

  it("are not sent with another key; they stay, and the error names the way out", async () => {
    await leave()
    const other = await start({}, client({ key: "key-b" }))
    await other.add(signal(10))
    await other.close()
    expect(undelivered.map(({ count, kept }) => [count, kept])).toEqual([
      [5, true],
      [5, true],
    ])
    expect(undelivered[0]?.error.message).toMatch(
      /another API key or to another address.*otherCallers: "send"/,
    )
    // The key of the first run continues: nothing is stored twice.
    await (await start({}, client({ key: "key-a" }))).close()
    expect([await stored(), undelivered, await files()]).toEqual([upTo(11), [], []])
  })

  it("are sent when every signal has a dedupe key, or when the caller says so", async () => {
    await leave()
    await (await start({ otherCallers: "send" }, client({ key: "key-b" }))).close()
    expect([undelivered, await files()]).toEqual([[], []])
    await rig.query("truncate signals, batches, dedupe_keys")
    proxy.seen.length = 0
    away = true
    const first = await start({ closeDeadlineMs: 200 }, client({ key: "key-a" }))
    for (const index of upTo(3)) await first.add(signal(index, { dedupe_key: `drain-${index}` }))
    await first.close()
    away = false
    await (await start({}, client({ key: "key-b" }))).close()
    expect([await stored(), undelivered, await files()]).toEqual([upTo(3), [], []])
  })
})

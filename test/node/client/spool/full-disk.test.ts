import { open, readdir, rm, stat } from "node:fs/promises"
import { join } from "node:path"
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest"
import { BatchProcessor, SignalClient } from "../../../../src/client/index.ts"
import { openSpool } from "../../../../src/client/spool/spool.ts"
import { mountSmallDisk } from "../../../long/faults/matrix/small-disk.ts"
import { storedNumbers, upTo, useEmptyTables, useProxy, useRig } from "../../../setup/hooks/rig.ts"

/** A spool's default limit is far beyond this disk: it fills the disk itself. */
const disk = await mountSmallDisk("2m")

const rig = useRig()
const proxy = useProxy(rig)
useEmptyTables(rig)
afterAll(() => disk?.remove())

const TEXT = "x".repeat(400)
const signal = (index: number) => ({
  context_window_id: "conv-disk",
  raw_content: String(index),
  diagnostic_notes: TEXT,
})
let away = true
let folder: string
const undelivered: unknown[] = []
const client = () =>
  new SignalClient({
    url: proxy.address,
    deadlineMs: 3000,
    fetch: (url, init) => fetch(away ? "http://127.0.0.1:2" : url, init),
  })
const start = async (more: object = {}) =>
  new BatchProcessor(client(), {
    spool: await openSpool(folder),
    onUndelivered: (batch) => undelivered.push(batch),
    ...more,
  })

/** Adds until a call rejects. @returns how many were accepted, and the words of the error */
async function addUntilFull(processor: BatchProcessor, from = 0): Promise<[number, string]> {
  for (let index = from; index < from + 100_000; index++) {
    const words = await processor.add(signal(index)).then(
      () => undefined,
      (error: Error) => error.message,
    )
    if (words !== undefined) return [index, words]
  }
  throw new Error("the disk is larger than expected")
}

beforeEach(() => {
  away = true
  undelivered.length = 0
  folder = join(disk?.path ?? "", "spool")
})
afterEach(() => rm(folder, { recursive: true, force: true }))

describe.runIf(disk)("a spool that fills its disk", () => {
  it("refuses signals while there is too little room, and accepts them again when the service is back", async () => {
    const processor = await start()
    const [accepted, words] = await addUntilFull(processor)
    expect(words).toMatch(/is nearly full: it has \d+ free bytes, .*It accepts signals again/)
    expect(accepted).toBeGreaterThan(500)
    away = false
    await processor.flush()
    expect(await storedNumbers(rig)).toEqual(upTo(accepted))
    await processor.add(signal(accepted))
    await processor.close()
    expect(await storedNumbers(rig)).toEqual(upTo(accepted + 1))
    expect(undelivered).toEqual([])
    expect((await readdir(folder)).filter((name) => name.endsWith(".spool"))).toEqual([])
  })

  it("is opened by the next run, which sends everything once, although another program fills the disk", async () => {
    const first = await start({ closeDeadlineMs: 200 })
    const [accepted] = await addUntilFull(first)
    await first.close()
    await disk?.fill()
    away = false
    const second = await start()
    await second.close()
    expect(await storedNumbers(rig)).toEqual(upTo(accepted))
    expect((await readdir(folder)).filter((name) => name.endsWith(".spool"))).toEqual([])
    await disk?.free()
  })

  it("sends everything and removes its files, although no byte can be written, not even in its reserve", async () => {
    const processor = await start()
    const [accepted] = await addUntilFull(processor)
    await processor.flush({ deadlineMs: 0 }).catch(() => {})
    await takeReserve()
    away = false
    await processor.flush()
    expect(await storedNumbers(rig)).toEqual(upTo(accepted))
    await disk?.free()
    await processor.add(signal(accepted))
    await processor.close()
    // Nothing is sent again by the next run.
    const before = proxy.seen.length
    await (await start()).close()
    expect(proxy.seen.length).toBe(before)
    expect(await storedNumbers(rig)).toEqual(upTo(accepted + 1))
    expect(undelivered).toEqual([])
  })

  it("keeps its reserve between runs, and takes it again when there is room", async () => {
    await (await start()).close()
    const size = async () => (await stat(join(folder, "reserve")).catch(() => undefined))?.size
    expect(await size()).toBe(128 * 1024)
    await rm(join(folder, "reserve"))
    await (await start()).close()
    expect(await size()).toBe(128 * 1024)
  })
})

/** Another program takes the space of the reserve and all the rest. */
async function takeReserve(): Promise<void> {
  await rm(join(folder, "reserve"))
  await disk?.fill()
  const file = await open(join(folder, "probe"), "w")
  try {
    await expect(file.writeFile("x".repeat(8192))).rejects.toThrow("ENOSPC")
  } finally {
    await file.close()
    await rm(join(folder, "probe"))
  }
}

import { execFile, spawn } from "node:child_process"
import { once } from "node:events"
import { type FileHandle, mkdtemp, open, readdir, readFile, rm, stat, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest"
import { type DamagedLine, openSpool, type Spool } from "../../../../src/client/spool/spool.ts"

const DISK_FULL = fileURLToPath(new URL("disk-full.ts", import.meta.url))

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "spool-"))
})
afterEach(async () => {
  vi.restoreAllMocks()
  await rm(folder, { recursive: true, force: true })
})

const signal = (name: string, more: object = {}) => JSON.stringify({ context_window_id: name, ...more })
const namesOf = (signals: readonly string[]): string[] =>
  signals.map((text) => JSON.parse(text).context_window_id)
const cut = (spool: Spool, key: string, count: number) => spool.cut(key, count, "caller")
const files = async () => (await readdir(folder)).filter((name) => name.endsWith(".spool")).sort()
const append = async (spool: Spool, ...names: string[]) => {
  for (const name of names) await spool.append(signal(name))
}

/** Opens the spool as a new run does: loose signals by name, and batches by key. */
async function recovered(damaged: DamagedLine[] = []) {
  const spool = await openSpool(folder, { onDamage: (line) => damaged.push(line) })
  const { loose, batches } = await spool.recover()
  const read = batches.map(async ({ key }) => [key, namesOf((await spool.read(key)).signals)] as const)
  const found = { loose: namesOf(loose), batches: Object.fromEntries(await Promise.all(read)) }
  await spool.close()
  return found
}

/** The prototype of file handles: a test replaces one of its methods to make the disk fail. */
async function fileMethods(): Promise<FileHandle> {
  const handle = await open(folder, "r")
  await handle.close()
  return Object.getPrototypeOf(handle)
}

describe("a batch that is done", () => {
  it("is not sent again while an older batch keeps its file", async () => {
    const first = await openSpool(folder)
    await append(first, "k", "l")
    await cut(first, "K", 1)
    await cut(first, "L", 1)
    await first.close()

    const second = await openSpool(folder)
    await second.recover()
    await second.done("K")
    await second.close()
    expect(await recovered()).toEqual({ loose: [], batches: { L: ["l"] } })
    expect(await recovered()).toEqual({ loose: [], batches: { L: ["l"] } })
  })

  it("is not sent again over many files, whose number stays bounded", async () => {
    const spool = await openSpool(folder, { maxBytes: 1024 ** 2 })
    await append(spool, "kept")
    await cut(spool, "KEPT", 1)
    // A file ends after 64 KiB: these take more than 20.
    const large = signal("done", { raw_content: "x".repeat(10_000) })
    for (let batch = 0; batch < 40; batch++) {
      for (let index = 0; index < 4; index++) await spool.append(large)
      await cut(spool, `batch-${batch}`, 4)
      await spool.done(`batch-${batch}`)
    }
    expect((await files()).length).toBeLessThan(4)
    // As after a crash: nothing is closed.
    const copy = await mkdtemp(join(tmpdir(), "spool-"))
    for (const name of await files()) await writeFile(join(copy, name), await readFile(join(folder, name)))
    await spool.close()
    folder = copy
    expect(await recovered()).toEqual({ loose: [], batches: { KEPT: ["kept"] } })
  })
})

describe("a full spool", () => {
  it("refuses signals at its limit, and accepts them again when a batch is done", async () => {
    const spool = await openSpool(folder, { maxBytes: 1024 ** 2 })
    const large = signal("large", { raw_content: "x".repeat(100_000) })
    let accepted = 0
    const refused = async () => {
      for (; accepted < 100; accepted++) await spool.append(large)
    }
    await expect(refused()).rejects.toThrow(
      /is full: it holds 1\d{6} bytes, and its limit is 1048576 \(maxBytes\)/,
    )
    expect(accepted).toBe(11)
    await cut(spool, "K", accepted)
    await spool.done("K")
    await append(spool, "after")
    await spool.close()
    expect(await recovered()).toEqual({ loose: ["after"], batches: {} })
  })
})

describe("a damaged byte", () => {
  it("loses at most the signal of its line, at any position, and is reported", async () => {
    const spool = await openSpool(folder)
    await append(spool, "one", "two", "three")
    await spool.close()
    const [name = ""] = await files()
    const bytes = await readFile(join(folder, name))
    for (let index = 0; index < bytes.length; index++) {
      for (const mask of [0x01, 0x80]) {
        const damagedBytes = Buffer.from(bytes)
        damagedBytes[index] = (bytes[index] ?? 0) ^ mask
        await writeFile(join(folder, name), damagedBytes)
        const damaged: DamagedLine[] = []
        const { loose } = await recovered(damaged)
        const lost = ["one", "two", "three"].filter((one) => !loose.includes(one))
        expect(lost.length, `byte ${index}`).toBeLessThanOrEqual(1)
        expect(loose.length + lost.length, `byte ${index}`).toBe(3)
        // The last line without its line break looks like one that a crash left incomplete.
        if (lost.length > 0 && index < bytes.length - 1)
          expect(damaged, `byte ${index}`).toMatchObject([{ path: join(folder, name) }])
      }
    }
  })

  it("marks the batch that lacks a signal", async () => {
    const spool = await openSpool(folder)
    await append(spool, "one", "two", "three")
    await cut(spool, "K", 2)
    await spool.close()
    const [name = ""] = await files()
    const text = await readFile(join(folder, name), "utf8")
    await writeFile(join(folder, name), text.replace('"one"', '"owe"'))
    const next = await openSpool(folder, { onDamage: () => {} })
    const { batches, loose } = await next.recover()
    expect(batches).toMatchObject([{ key: "K", count: 1, caller: "caller" }])
    expect(await next.read("K")).toEqual({ signals: [signal("two")], isDamaged: true })
    await next.close()
    expect(namesOf(loose)).toEqual(["three"])
  })
})

const canLimit = await promisify(execFile)("prlimit", ["--version"]).then(
  () => true,
  () => false,
)
if (!canLimit) console.log("skipped: prlimit is not available here")

describe("a disk that fails", () => {
  it.skipIf(!canLimit)("loses no signal that was accepted after it was full", async () => {
    // Room for one line and a half.
    const child = spawn("prlimit", ["--fsize=90:unlimited", process.execPath, DISK_FULL, folder])
    let said = ""
    child.stdout.on("data", (text) => {
      said += text
    })
    await once(child, "close")
    const outcomes = said
      .trim()
      .split("\n")
      .map((line) => line.split(" "))
    expect(outcomes.map(([name]) => name)).toEqual(["one", "two", "three", "four"])
    expect(said).toContain("EFBIG")
    expect(said).toContain("four accepted")
    const damaged: DamagedLine[] = []
    const accepted = outcomes.flatMap(([name, outcome]) => (outcome === "accepted" ? [name] : []))
    expect(await recovered(damaged)).toEqual({ loose: accepted, batches: {} })
    expect(damaged).toEqual([])
  })

  it("removes a line whose sync failed, and continues in a new file", async () => {
    const spool = await openSpool(folder)
    await append(spool, "before")
    vi.spyOn(await fileMethods(), "datasync").mockRejectedValueOnce(new Error("EIO"))
    await expect(append(spool, "failed")).rejects.toThrow("EIO")
    await append(spool, "after")
    await cut(spool, "K", 2)
    expect(await files()).toHaveLength(2)
    await spool.close()
    expect(await recovered()).toEqual({ loose: [], batches: { K: ["before", "after"] } })
  })

  it("refuses every signal after a file could not be repaired, and keeps the accepted ones", async () => {
    const spool = await openSpool(folder)
    await append(spool, "before")
    const methods = await fileMethods()
    vi.spyOn(methods, "datasync").mockRejectedValueOnce(new Error("EIO"))
    vi.spyOn(methods, "truncate").mockRejectedValueOnce(new Error("EROFS"))
    await expect(append(spool, "failed")).rejects.toThrow("EIO")
    for (let attempt = 0; attempt < 3; attempt++)
      await expect(append(spool, "later")).rejects.toThrow(/could not be repaired/)
    await spool.close()
    expect((await recovered()).loose).toContain("before")
  })

  it("does not put a line that it could not remove into another batch", async () => {
    const spool = await openSpool(folder)
    await append(spool, "before")
    const methods = await fileMethods()
    vi.spyOn(methods, "datasync").mockRejectedValueOnce(new Error("EIO"))
    vi.spyOn(methods, "truncate").mockRejectedValueOnce(new Error("EROFS"))
    await expect(append(spool, "failed")).rejects.toThrow("EIO")
    await spool.close()
    const second = await openSpool(folder)
    await second.recover()
    await append(second, "after")
    await cut(second, "K", 1)
    await second.close()
    expect((await recovered()).batches).toEqual({ K: ["before"] })
  })

  it.skipIf(process.platform === "win32")(
    "has the folder entry of a new file before a signal is accepted",
    async () => {
      const spool = await openSpool(folder)
      const { ino } = await stat(folder)
      const methods = await fileMethods()
      const sync = methods.sync
      const synced: number[] = []
      vi.spyOn(methods, "sync").mockImplementation(async function (this: FileHandle) {
        synced.push((await this.stat()).ino)
        return sync.call(this)
      })
      await append(spool, "first")
      expect(synced).toEqual([ino])
      await append(spool, "second")
      expect(synced).toEqual([ino])
      await spool.close()
    },
  )

  it("is not written after the lock is released", async () => {
    const spool = await openSpool(folder)
    await append(spool, "one")
    const late = [append(spool, "two"), spool.close(), append(spool, "three"), cut(spool, "K", 1)]
    expect((await Promise.allSettled(late)).map(({ status }) => status)).toEqual([
      "fulfilled",
      "fulfilled",
      "rejected",
      "rejected",
    ])
    await expect(append(spool, "four")).rejects.toThrow("is closed")
    expect(await recovered()).toEqual({ loose: ["one", "two"], batches: {} })
  })
})

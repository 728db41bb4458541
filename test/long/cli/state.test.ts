import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest"
import { run, start } from "../../node/cli/import/importer.ts"
import { type FaultyProxy, startProxy } from "../../setup/proxy.ts"
import { type Rig, startRig } from "../../setup/rig.ts"

/** Two services, each with a database of its own; the first also under a second address. */
let first: Rig
let second: Rig
let proxy: FaultyProxy
let folder: string

beforeAll(async () => {
  first = await startRig()
  second = await startRig()
  proxy = await startProxy(first.service.address)
})
afterAll(async () => {
  await proxy?.stop()
  await second?.stop()
  await first?.stop()
})
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "signal-ingest-state-"))
  for (const rig of [first, second]) await rig.query("truncate signals, batches, dedupe_keys, dead_letters")
  proxy.seen.length = 0
})
afterEach(() => rm(folder, { recursive: true, force: true }))

const lines = (count: number) =>
  Array.from(
    { length: count },
    (_, index) => `${JSON.stringify({ context_window_id: "c", raw_content: String(index) })}\n`,
  ).join("")
const importTo = (address: string, ...more: string[]) =>
  run(folder, ["import", "jsonl", "in.jsonl", "--batch-size", "10", "--url", address, ...more])
const SLOWLY = ["import", "jsonl", "in.jsonl", "--batch-size", "10", "--concurrency", "1"]
const count = async (rig: Rig) =>
  (
    await rig.query<{ signals: number; distinct: number }>(
      "select count(*)::int4 as signals, count(distinct raw_content)::int4 as distinct from signals",
    )
  )[0]

describe("the state of an import", () => {
  it("belongs to one service: an import to a second service sends everything", async () => {
    await writeFile(join(folder, "in.jsonl"), lines(25))
    for (const rig of [first, second, second, first])
      expect(await importTo(rig.service.address)).toMatchObject({
        code: 0,
        out: expect.stringContaining("25 read, 25 stored"),
      })
    for (const rig of [first, second]) expect(await count(rig)).toEqual({ signals: 25, distinct: 25 })
  })

  it("refuses a second import of the source while the first one runs, even under another address of the service", async () => {
    await writeFile(join(folder, "in.jsonl"), lines(3000))
    const { child, ended } = start(folder, [...SLOWLY, "--url", proxy.address])
    await expect.poll(() => proxy.seen.length, { interval: 1 }).toBeGreaterThan(5)
    child.kill("SIGSTOP")
    for (const address of [proxy.address, first.service.address]) {
      const { code, err } = await importTo(address)
      expect([code, err]).toEqual([2, expect.stringContaining(`is in use by process ${child.pid} on `)])
      expect(err).toContain("Wait until that import has ended, or name another file with --state.")
    }
    child.kill("SIGCONT")
    expect(await ended).toBe(0)
    expect(await count(first)).toEqual({ signals: 3000, distinct: 3000 })
    expect(await importTo(proxy.address)).toMatchObject({
      code: 0,
      out: expect.stringContaining("imported before"),
    })
  })

  it("leaves no lock behind, however the import ends", async () => {
    const kept = async () =>
      (await readdir(join(folder, ".signals"))).map((name) => name.replace(/.*(?=\.)/, ""))
    await writeFile(join(folder, "in.jsonl"), lines(2000))
    const { child, ended } = start(folder, [...SLOWLY, "--url", proxy.address])
    await expect.poll(() => proxy.seen.length, { interval: 1 }).toBeGreaterThan(5)
    expect(await kept()).toEqual([".json", ".lock"])
    child.kill("SIGINT")
    expect(await ended).toBe(130)
    expect(await kept()).toEqual([".json"])
    const { child: killed, ended: dead } = start(folder, [...SLOWLY, "--url", proxy.address])
    const before = proxy.seen.length
    await expect.poll(() => proxy.seen.length, { interval: 1 }).toBeGreaterThan(before)
    killed.kill("SIGKILL")
    await dead
    expect(await importTo(proxy.address, "--batch-size", "11")).toMatchObject({ code: 2 })
    expect(await kept()).toEqual([".json"])
    expect(await importTo(proxy.address)).toMatchObject({ code: 0 })
    expect(await kept()).toEqual([".json"])
  })

  it("is released when its process is killed", async () => {
    await writeFile(join(folder, "in.jsonl"), lines(500))
    const { child, ended } = start(folder, [...SLOWLY, "--url", proxy.address])
    await expect.poll(() => proxy.seen.length, { interval: 1 }).toBeGreaterThan(5)
    child.kill("SIGKILL")
    await ended
    expect(await importTo(proxy.address)).toMatchObject({ code: 0 })
    expect(await count(first)).toEqual({ signals: 500, distinct: 500 })
  })

  it("starts again at a second service after a stop at the first, and continues at the first", async () => {
    await writeFile(join(folder, "in.jsonl"), lines(2000))
    const { child, ended } = start(folder, [...SLOWLY, "--url", proxy.address])
    await expect.poll(() => proxy.seen.length, { interval: 1 }).toBeGreaterThan(5)
    child.kill("SIGINT")
    expect(await ended).toBe(130)
    expect(await importTo(second.service.address)).toMatchObject({ code: 0 })
    expect(await importTo(proxy.address)).toMatchObject({
      code: 0,
      err: expect.stringContaining("Continuing after"),
    })
    for (const rig of [first, second]) expect(await count(rig)).toEqual({ signals: 2000, distinct: 2000 })
  })

  it("is kept when the same service has another address", async () => {
    await writeFile(join(folder, "in.jsonl"), lines(25))
    await importTo(first.service.address)
    expect(await importTo(proxy.address)).toMatchObject({
      code: 0,
      out: expect.stringContaining("imported before"),
      err: expect.stringContaining(first.service.address),
    })
    expect(await count(first)).toEqual({ signals: 25, distinct: 25 })
  })

  it("is abandoned when the database behind the address is another one", async () => {
    await writeFile(join(folder, "in.jsonl"), lines(25))
    await importTo(first.service.address)
    await first.query("truncate signals, batches, dedupe_keys")
    expect(await importTo(first.service.address)).toMatchObject({
      code: 0,
      out: expect.stringContaining("Imported: 25 read, 25 stored"),
      err: expect.stringContaining("its database is another one"),
    })
    expect(await count(first)).toEqual({ signals: 25, distinct: 25 })
  })

  it("is refused when --state names the state of another service", async () => {
    await writeFile(join(folder, "in.jsonl"), lines(25))
    await importTo(first.service.address, "--state", "state.json")
    expect(await importTo(second.service.address, "--state", "state.json")).toMatchObject({
      code: 2,
      err: expect.stringContaining(
        `belongs to an import to ${first.service.address}, not to ${second.service.address}`,
      ),
    })
  })

  it("a state of another version is refused with the way out", async () => {
    await writeFile(join(folder, "in.jsonl"), lines(25))
    await importTo(first.service.address, "--state", "state.json")
    const state = JSON.parse(await readFile(join(folder, "state.json"), "utf8"))
    await writeFile(join(folder, "state.json"), JSON.stringify({ ...state, version: 2 }))
    expect(await importTo(first.service.address, "--state", "state.json")).toMatchObject({
      code: 2,
      err: expect.stringContaining("state.json was written by another version of this program. --restart"),
    })
    expect(await importTo(first.service.address, "--state", "state.json", "--restart")).toMatchObject({
      code: 0,
    })
  })

  it("is not used while the service does not answer", async () => {
    await writeFile(join(folder, "in.jsonl"), lines(25))
    await importTo(first.service.address, "--state", "state.json")
    expect(await importTo("http://127.0.0.1:2", "--state", "state.json", "--deadline", "1")).toMatchObject({
      code: 3,
      err: expect.stringMatching(/^Gave up: no answer within 1000 ms/),
    })
  })
})

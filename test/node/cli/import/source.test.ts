import { spawn } from "node:child_process"
import { once } from "node:events"
import { appendFile, copyFile, readFile, rm, stat, utimes, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { gzipSync } from "node:zlib"
import { describe, expect, it } from "vitest"
import { storedNumbers, upTo, useEmptyTables, useFolder, useProxy, useRig } from "../../../setup/hooks/rig.ts"
import { run, start } from "./importer.ts"

const rig = useRig()
const proxy = useProxy(rig)
const folder = useFolder()
useEmptyTables(rig)

const signals = (...args: string[]) => run(folder.path, args, { SIGNAL_INGEST_URL: proxy.address })
const path = (name: string) => join(folder.path, name)
const file = (name: string, text: string | Buffer) => writeFile(path(name), text)
const line = (index: number) => `${JSON.stringify({ context_window_id: "c", raw_content: String(index) })}\n`
const lines = (count: number, from = 0) =>
  upTo(count)
    .map((index) => line(from + index))
    .join("")
const stored = () => storedNumbers(rig)
const SMALL = ["--batch-size", "50"]

/** Imports a file, and kills the importer in its middle. */
async function importAndKill(name: string): Promise<void> {
  const args = ["import", "jsonl", name, ...SMALL, "--concurrency", "2"]
  const { child, ended } = start(folder.path, args, { SIGNAL_INGEST_URL: proxy.address })
  await expect.poll(() => proxy.seen.length, { interval: 1 }).toBeGreaterThan(6)
  child.kill("SIGKILL")
  await ended
}

describe("a source", () => {
  it.each(["jsonl", "csv"])(
    "that is cut off is sent to its last record, and continues when it is whole: %s",
    async (kind) => {
      const rows = upTo(3000).map((index) => `c,${index},${crypto.randomUUID()}\n`)
      const text = kind === "csv" ? `context_window_id,raw_content,user_id\n${rows.join("")}` : lines(3000)
      const packed = gzipSync(text)
      await file("in.gz", packed.subarray(0, packed.length * 0.7))
      const first = await signals("import", kind, "in.gz", ...SMALL)
      expect([first.code, first.err]).toEqual([3, expect.stringContaining("Gave up: in.gz is truncated")])
      const count = (await stored()).length
      expect(first.err).toContain(`So far: ${count} read, ${count} stored, 0 failed.`)
      // The batches have 50 signals: the rest is sent, too.
      if (kind === "jsonl") expect(count % 50).not.toBe(0)
      expect(await signals("import", kind, "in.gz", ...SMALL)).toMatchObject({ code: 3 })
      await file("in.gz", packed)
      expect(await signals("import", kind, "in.gz", ...SMALL)).toMatchObject({
        code: 0,
        out: expect.stringContaining("Imported: 3000 read, 3000 stored, 0 failed."),
      })
      expect(await stored()).toEqual(upTo(3000))
    },
  )

  it("a source that was touched, grown, copied and moved continues after a kill", async () => {
    await file("in.jsonl", lines(1000))
    await importAndKill("in.jsonl")
    await utimes(path("in.jsonl"), new Date(), new Date())
    await appendFile(path("in.jsonl"), lines(300, 1000))
    await copyFile(path("in.jsonl"), path("copy.jsonl"))
    expect(await signals("import", "jsonl", "copy.jsonl", ...SMALL)).toMatchObject({
      code: 0,
      out: expect.stringContaining("1300 read, 1300 stored"),
      err: expect.stringMatching(
        /^copy\.jsonl begins with the \d+ records that were imported from in\.jsonl/,
      ),
    })
    expect(await stored()).toEqual(upTo(1300))
    expect(await signals("import", "jsonl", "in.jsonl", ...SMALL)).toMatchObject({
      code: 0,
      out: expect.stringMatching(/^The whole source was imported before: 1300 read, 1300 stored/),
    })
    await appendFile(path("in.jsonl"), lines(1, 1300))
    expect(await signals("import", "jsonl", "in.jsonl")).toMatchObject({ code: 0 })
    expect(await stored()).toEqual(upTo(1301))
  })

  it("whose last line was not yet written to its end gets that line later", async () => {
    await file("in.jsonl", lines(20) + line(20).slice(0, 15))
    expect(await signals("import", "jsonl", "in.jsonl")).toMatchObject({
      code: 1,
      out: expect.stringContaining("21 read, 20 stored, 1 failed"),
    })
    await file("in.jsonl", lines(22))
    expect(await signals("import", "jsonl", "in.jsonl")).toMatchObject({
      code: 0,
      out: expect.stringContaining("22 read, 22 stored, 0 failed"),
    })
    expect(await stored()).toEqual(upTo(22))
  })

  it.each([
    ["corrected", (text: string) => text.replace('"7"', '"1000"')],
    ["shortened", (text: string) => text.split("\n").slice(0, 10).join("\n")],
    ["another one", () => lines(30, 500)],
  ])("with another beginning asks for --restart, and nothing of it is sent: %s", async (_, change) => {
    await file("in.jsonl", lines(30))
    await signals("import", "jsonl", "in.jsonl")
    await file("in.jsonl", change(lines(30)))
    const { code, err } = await signals("import", "jsonl", "in.jsonl")
    expect([code, err]).toEqual([
      2,
      expect.stringContaining("in.jsonl does not begin with the 30 records that were imported before"),
    ])
    expect(err).toContain("--restart")
    expect(await stored()).toEqual(upTo(30))
    expect(await signals("import", "jsonl", "in.jsonl", "--restart")).toMatchObject({ code: 0 })
  })

  it("that changed in a batch that was sent and not noted fails the records of that batch, and sends the others", async () => {
    await file("in.jsonl", lines(50))
    const args = [
      "import",
      "jsonl",
      "in.jsonl",
      ...SMALL,
      "--state",
      "state.json",
      "--failures",
      "failed.jsonl",
    ]
    expect(await signals(...args)).toMatchObject({ code: 0 })
    await copyFile(path("state.json"), path("noted.json"))
    await file("in.jsonl", lines(100))
    expect(await signals(...args)).toMatchObject({ code: 0 })
    // As if the importer had been killed before it noted the second batch.
    await copyFile(path("noted.json"), path("state.json"))
    await file("in.jsonl", lines(150).replace('"99"', '"1099"'))
    const again = await signals(...args)
    expect(again).toMatchObject({ code: 1, out: expect.stringContaining("150 read, 100 stored, 50 failed") })
    expect(again.out).toContain("An earlier run sent and stored the batch of this record")
    expect((await readFile(path("failed.jsonl"), "utf8")).trim().split("\n")).toHaveLength(50)
    expect(await stored()).toEqual(upTo(150))
  })

  it("a source of SQL is known by its rows", async () => {
    await rig.query("create table if not exists rows_of_a_source (id int, body text)")
    await rig.query("truncate rows_of_a_source")
    await rig.query("insert into rows_of_a_source select n, n::text from generate_series(0, 19) n")
    const args = [
      ...["import", "sql", "--from", rig.postgres.url],
      ...["--query", "select 'c' as context_window_id, body from rows_of_a_source order by id"],
      ...["--map", "body=raw_content"],
    ]
    expect(await signals(...args)).toMatchObject({ code: 0 })
    await rig.query("insert into rows_of_a_source values (20, '20')")
    expect(await signals(...args)).toMatchObject({
      code: 0,
      out: expect.stringContaining("21 read, 21 stored"),
    })
    await rig.query("update rows_of_a_source set body = '1003' where id = 3")
    expect(await signals(...args)).toMatchObject({
      code: 2,
      err: expect.stringContaining("does not begin with"),
    })
    expect(await stored()).toEqual(upTo(21))
    await rig.query("drop table rows_of_a_source")
  })
})

describe("the failures file", () => {
  const bad = (index: number) => `{"raw_content":"${index}"}\n`
  const failedIn = async (name: string) =>
    (await readFile(path(name), "utf8"))
      .trimEnd()
      .split("\n")
      .map((text) => JSON.parse(text).raw_content)

  it.each([
    ["a file that exists", "precious.jsonl"],
    ["the source itself", "in.jsonl"],
  ])("is never %s", async (_, name) => {
    await file("precious.jsonl", '{"context_window_id":"precious"}\n')
    await file("in.jsonl", bad(0))
    const before = await readFile(path(name), "utf8")
    const { code, err } = await signals("import", "jsonl", "in.jsonl", "--failures", name)
    expect([code, err]).toEqual([2, expect.stringContaining(`${name} exists already. Remove it, or name`)])
    expect(await readFile(path(name), "utf8")).toBe(before)
    expect(proxy.seen.filter(({ method }) => method === "POST")).toEqual([])
  })

  it.each(["--failures", "-o"])(
    "is never a FIFO, which would keep the command waiting: %s",
    async (option) => {
      await file("in.jsonl", bad(0))
      await once(spawn("mkfifo", [path("pipe")]), "close")
      expect(await signals("import", "jsonl", "in.jsonl", option, "pipe")).toMatchObject({
        code: 2,
        err: expect.stringContaining("pipe exists already."),
      })
      expect((await stat(path("pipe"))).isFIFO()).toBe(true)
    },
  )

  it("is not left behind by an import without failures", async () => {
    await file("in.jsonl", lines(3))
    expect(await signals("import", "jsonl", "in.jsonl", "--failures", "failed.jsonl")).toMatchObject({
      code: 0,
    })
    await expect(readFile(path("failed.jsonl"))).rejects.toThrow("ENOENT")
  })

  it.each([
    ["removed", (_: string) => undefined],
    ["shortened", (text: string) => text.slice(0, 100)],
    [
      "corrected",
      (text: string) => `${text.replaceAll('{"raw_content"', '{"context_window_id":"c","raw_content"')}`,
    ],
    ["continued", (text: string) => `${text}{"a person's": "line"}\n`],
  ])("that a person %s while the import was stopped stays, and another one begins", async (how, change) => {
    await file("in.jsonl", upTo(400).map(bad).join(""))
    const args = [
      "import",
      "jsonl",
      "in.jsonl",
      "--batch-size",
      "10",
      "--concurrency",
      "1",
      "--failures",
      "failed.jsonl",
    ]
    const { child, ended } = start(folder.path, args, { SIGNAL_INGEST_URL: proxy.address })
    await expect.poll(() => proxy.seen.length, { interval: 1 }).toBeGreaterThan(5)
    child.kill("SIGINT")
    expect(await ended).toBe(130)
    const text = await readFile(path("failed.jsonl"), "utf8")
    const changed = change(text)
    if (changed === undefined) await rm(path("failed.jsonl"))
    else await file("failed.jsonl", changed)
    const { code, out, err } = await signals(...args)
    expect([code, out]).toEqual([1, expect.stringContaining("400 read, 0 stored, 400 failed")])
    const another = /Further failures go into (\S+)\.$/m.exec(err)?.[1] ?? ""
    expect(err).toContain(`failed.jsonl was ${how === "removed" ? "removed" : "changed"} since`)
    if (changed !== undefined) expect(await readFile(path("failed.jsonl"), "utf8")).toBe(changed)
    const first = text.trimEnd().split("\n").length
    expect(await failedIn(another)).toEqual(upTo(400).slice(first).map(String))
  })

  it("the source of two imports at once is not one file", async () => {
    await file("a.jsonl", upTo(2000).map(bad).join(""))
    await file("b.jsonl", bad(0))
    const args = ["--batch-size", "10", "--failures", "both.jsonl"]
    const first = start(folder.path, ["import", "jsonl", "a.jsonl", ...args], {
      SIGNAL_INGEST_URL: proxy.address,
    })
    await expect.poll(() => proxy.seen.length, { interval: 1 }).toBeGreaterThan(0)
    expect(await signals("import", "jsonl", "b.jsonl", ...args)).toMatchObject({ code: 2 })
    expect(await first.ended).toBe(1)
    expect(await failedIn("both.jsonl")).toHaveLength(2000)
  })
})

describe("-o", () => {
  it("replaces no file", async () => {
    await file("in.jsonl", lines(3))
    await file("batch-2.json", "precious")
    for (const name of ["in.jsonl", "batch-2.json"])
      expect(await signals("import", "jsonl", "in.jsonl", "-o", name)).toMatchObject({
        code: 2,
        err: expect.stringContaining(`${name} exists already.`),
      })
    expect(
      await signals("import", "jsonl", "in.jsonl", "-o", "batch.json", "--batch-size", "1"),
    ).toMatchObject({ code: 2, err: expect.stringContaining("batch-2.json exists already.") })
    expect(await readFile(path("batch-2.json"), "utf8")).toBe("precious")
    expect(await readFile(path("in.jsonl"), "utf8")).toBe(lines(3))
  })
})

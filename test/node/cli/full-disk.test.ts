import { readdir, readFile, rm, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { afterAll, afterEach, describe, expect, it } from "vitest"
import { mountSmallDisk } from "../../long/faults/matrix/small-disk.ts"
import { storedNumbers, upTo, useEmptyTables, useFolder, useRig } from "../../setup/hooks/rig.ts"
import { run } from "./import/importer.ts"

const disk = await mountSmallDisk("100k")

const rig = useRig()
const folder = useFolder()
useEmptyTables(rig)
afterAll(() => disk?.remove())
afterEach(async () => {
  for (const name of await onDisk()) await rm(full(name), { recursive: true, force: true })
})

const full = (name: string) => join(disk?.path ?? "", name)
const onDisk = async () => (await readdir(full(""))).sort()
const file = (name: string, text: string) => writeFile(join(folder.path, name), text)
const signals = (...args: string[]) => run(folder.path, args, { SIGNAL_INGEST_URL: rig.service.address })
/** Another program takes so much of the disk. */
const take = (kilobytes: number) => writeFile(full("other"), Buffer.alloc(kilobytes * 1024))
const fillUp = async () => await disk?.fill()
const release = async () => {
  await rm(full("other"), { force: true })
  await disk?.free()
}

const NOTES = "x".repeat(400)
const lines = (count: number, more: object = {}) =>
  upTo(count)
    .map(
      (index) =>
        `${JSON.stringify({ context_window_id: "c", raw_content: String(index), diagnostic_notes: NOTES, ...more })}\n`,
    )
    .join("")
/** What `text` has, as lines of JSON. */
const parsed = (text: string) =>
  text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line))

const expectFull = ({ code, err }: { code: number | null; err: string }) => {
  expect([code, err]).toEqual([3, expect.stringMatching(/the disk is full \(.+\)\. Make room\./)])
  expect(err).not.toMatch(/^\s+at /m)
}

describe.runIf(disk)("a command whose disk is full", () => {
  it.each([
    ["one batch", 500, ["batch.json"]],
    ["several batches", 20, upTo(5).map((index) => `batch-${index + 1}.json`)],
  ])(
    "leaves no batch of import -o, and writes all of them when there is room: %s",
    async (_, size, names) => {
      await file("in.jsonl", lines(100))
      const command = ["import", "jsonl", "in.jsonl", "-o", full("batch.json"), "--batch-size", String(size)]
      await take(64)
      expectFull(await signals(...command))
      expect(await onDisk()).toEqual(["other"])
      await fillUp()
      expectFull(await signals(...command))
      expect(await onDisk()).toEqual(["filler", "other"])
      await release()
      expect(await signals(...command)).toMatchObject({
        code: 0,
        err: expect.stringContaining("100 signals"),
      })
      expect(await onDisk()).toEqual(names)
      const texts = await Promise.all(names.map((name) => readFile(full(name), "utf8")))
      expect(
        texts.flatMap((text) =>
          JSON.parse(text).signals.map((one: { raw_content: string }) => Number(one.raw_content)),
        ),
      ).toEqual(upTo(100))
    },
  )

  it("keeps whole lines in --failures, and the same command writes each failure once", async () => {
    await file("in.jsonl", lines(100, { signal_score: 2 }))
    const command = [
      ...["import", "jsonl", "in.jsonl", "--batch-size", "20", "--concurrency", "1"],
      ...["--failures", full("failed.jsonl"), "--state", "state.json"],
    ]
    for (const takeSome of [() => take(64), fillUp]) {
      await takeSome()
      const ended = await signals(...command)
      expectFull(ended)
      expect(ended.err).toContain("The same command continues.")
      const text = await readFile(full("failed.jsonl"), "utf8").catch(() => "")
      if (text !== "") expect(parsed(text).length % 20).toBe(0)
    }
    await release()
    expect(await signals(...command)).toMatchObject({
      code: 1,
      out: expect.stringContaining("100 read, 0 stored, 100 failed"),
    })
    const failed = parsed(await readFile(full("failed.jsonl"), "utf8"))
    expect(failed.map(({ raw_content }) => Number(raw_content))).toEqual(upTo(100))
  })

  it("has its old state or the new one, and the same command stores each signal once", async () => {
    await file("in.jsonl", lines(100))
    const command = ["import", "jsonl", "in.jsonl", "--batch-size", "10", "--state", full("state.json")]
    await fillUp()
    const ended = await signals(...command)
    expectFull(ended)
    expect(await onDisk()).toEqual(["filler"])
    await release()
    expect(await signals(...command)).toMatchObject({ code: 0 })
    await file("in.jsonl", lines(200))
    await fillUp()
    expectFull(await signals(...command))
    expect(JSON.parse(await readFile(full("state.json"), "utf8"))).toMatchObject({ read: 100 })
    await release()
    expect(await signals(...command)).toMatchObject({ code: 0 })
    expect(await storedNumbers(rig)).toEqual(upTo(200))
  })

  it.each([
    ["ndjson", []],
    ["ndjson", ["--gzip"]],
    ["csv", []],
    ["parquet", []],
  ])("does not name a part of an export, and the same command completes it: %s %j", async (format, more) => {
    await file(
      "in.jsonl",
      lines(80).replaceAll(NOTES, () =>
        upTo(10)
          .map(() => crypto.randomUUID())
          .join(""),
      ),
    )
    await signals("import", "jsonl", "in.jsonl")
    const command = ["export", "--format", format, "--out", full("out"), ...more]
    for (const takeSome of [() => take(88), fillUp]) {
      await takeSome()
      const ended = await signals(...command)
      expectFull(ended)
      expect(await onDisk()).not.toContain("out")
    }
    await release()
    const ended = await signals(...command)
    expect([ended.code, ended.err]).toEqual([0, expect.stringContaining("Exported 80 signals")])
    expect(await onDisk()).toEqual(["out"])
    const kind = format === "ndjson" ? "jsonl" : format
    const dry = await signals("import", kind, full("out"), "--dry-run")
    expect(
      parsed(dry.out)
        .map(({ raw_content }) => Number(raw_content))
        .sort((a, b) => a - b),
    ).toEqual(upTo(80))
  })

  it("keeps the cursor of tail as it was, and the same command prints what was not noted again", async () => {
    const command = ["tail", "--quiet", "--cursor-file", full("cursor")]
    await file("in.jsonl", lines(3))
    await signals("import", "jsonl", "in.jsonl")
    await fillUp()
    expectFull(await signals(...command))
    expect(await onDisk()).toEqual(["filler"])
    await release()
    expect(parsed((await signals(...command)).out)).toHaveLength(3)
    const cursor = await readFile(full("cursor"), "utf8")
    await file("in.jsonl", lines(5))
    await signals("import", "jsonl", "in.jsonl")
    await fillUp()
    expectFull(await signals(...command))
    expect(await readFile(full("cursor"), "utf8")).toBe(cursor)
    expect(await onDisk()).toEqual(["cursor", "filler"])
    await release()
    const texts = parsed((await signals(...command)).out).map(({ raw_content }) => raw_content)
    expect(texts).toEqual(["3", "4"])
    expect(await onDisk()).toEqual(["cursor"])
  })
})

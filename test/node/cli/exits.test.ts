import { spawn } from "node:child_process"
import { once } from "node:events"
import { closeSync, openSync } from "node:fs"
import { mkdir, readFile, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { describe, expect, it } from "vitest"
import { storedNumbers, upTo, useEmptyTables, useFolder, useRig } from "../../setup/hooks/rig.ts"
import { bareEnvironment, commandLine } from "./command-line.ts"
import { run, start } from "./import/importer.ts"

const rig = useRig()
const folder = useFolder()
useEmptyTables(rig)

const file = (name: string, text: string) => writeFile(join(folder.path, name), text)
const lines = (count: number) =>
  upTo(count)
    .map((index) => `${JSON.stringify({ context_window_id: "c", raw_content: String(index) })}\n`)
    .join("")
const IMPORT = ["import", "jsonl", "in.jsonl"]

describe("a command", () => {
  it("ends with 130 by Ctrl-C and 143 by SIGTERM while its source is silent", async () => {
    const commands = [
      ["import", "jsonl", "-"],
      ["import", "jsonl", "-", "-o", "batch.json"],
      ["import", "jsonl", "-", "--dry-run"],
      ["verify", "jsonl", "-"],
    ]
    const codes = commands.flatMap((args) =>
      (["SIGINT", "SIGTERM"] as const).map(async (signal) => {
        const { child, ended } = start(folder.path, args, { SIGNAL_INGEST_URL: rig.service.address })
        // Blank lines, more than a pipe holds: it has begun to read when they are written.
        await new Promise((written) => child.stdin?.write("\n".repeat(1024 * 1024), written))
        child.kill(signal)
        return await ended
      }),
    )
    expect(await Promise.all(codes)).toEqual(commands.flatMap(() => [130, 143]))
  })

  it.each([
    [{ SIGNAL_INGEST_URL: "localhost:8002" }, "It must be an address"],
    [{ SIGNAL_INGEST_URL: "ftp://localhost" }, "It must be an address"],
    [{ SIGNAL_INGEST_URL: "http://u:p@localhost" }, "It must not hold a login"],
    [{ SIGNAL_INGEST_URL: "http://localhost/?a=b" }, "It must end before a ? or #"],
    [{ SIGNAL_INGEST_KEY: "abc\ndef" }, "SIGNAL_INGEST_KEY holds"],
    [{ SIGNAL_INGEST_KEY: "“abc”" }, "SIGNAL_INGEST_KEY holds"],
  ])("refuses %j at once with 2, and prints no key", async (env: Record<string, string>, sentence) => {
    await file("in.jsonl", lines(3))
    for (const args of [IMPORT, ["verify", "jsonl", "in.jsonl"], ["tail"], ["dlq", "list"]]) {
      const { code, err } = await run(folder.path, args, env)
      expect([code, err]).toEqual([2, expect.stringContaining(sentence)])
      expect(err).not.toMatch(/abc|^\s+at /m)
    }
  })

  it.each([
    ["tail", "--after", "nonsense"],
    ["export", "--format", "csv", "--out", "-", "--since", "someday"],
    ["verify", "jsonl", "in.jsonl", "--since", "someday"],
  ])("ends with 2 where the service refuses an option: %s %s %s", async (...args) => {
    await file("in.jsonl", lines(3))
    const { code, err } = await run(folder.path, args, { SIGNAL_INGEST_URL: rig.service.address })
    expect([code, err]).toEqual([2, expect.stringContaining('--help" for its options.')])
  })
})

/** Commands whose output is what they are for. */
const PRINTERS = [
  [["dlq", "list"]],
  [["keys", "list"]],
  [["tail"]],
  [["export", "--format", "csv", "--out", "-"]],
  [[...IMPORT, "--dry-run"]],
  [["key", "ci", "ingest"]],
  [["completion", "bash"]],
  [["--help"]],
  [["--version"]],
]

/** Runs a command whose output, or errors, go to a file descriptor or to a pipe that nobody reads. */
async function runInto(args: string[], stdio: { out?: number | "closed"; err?: "closed" }) {
  const child = spawn(process.execPath, commandLine(...args), {
    cwd: folder.path,
    env: bareEnvironment({ SIGNAL_INGEST_URL: rig.service.address }),
    stdio: ["ignore", typeof stdio.out === "number" ? stdio.out : "pipe", "pipe"],
  })
  if (stdio.out === "closed") child.stdout?.destroy()
  if (stdio.err === "closed") child.stderr?.destroy()
  let err = ""
  child.stderr?.on("data", (text) => {
    err += text
  })
  const [code] = await once(child, "close")
  return { code, err }
}

describe("an output that is closed or full", () => {
  it("does not change the exit code of verify, audit and import -o", async () => {
    await file("in.jsonl", lines(3))
    expect(await runInto(["verify", "jsonl", "in.jsonl"], { out: "closed" })).toMatchObject({ code: 1 })
    await run(folder.path, IMPORT, { SIGNAL_INGEST_URL: rig.service.address })
    expect(await runInto(["verify", "jsonl", "in.jsonl"], { out: "closed" })).toMatchObject({ code: 0 })
    expect(await runInto(["audit"], { out: "closed" })).toMatchObject({ code: 0 })
    await rig.query("delete from batches")
    expect(await runInto(["audit"], { out: "closed" })).toMatchObject({ code: 1 })
    expect(await runInto([...IMPORT, "-o", "batch.json"], { err: "closed" })).toMatchObject({ code: 0 })
    expect(JSON.parse(await readFile(join(folder.path, "batch.json"), "utf8")).signals).toHaveLength(3)
  })

  it("is told once where the command has other work, and changes no exit code", async () => {
    await file("in.jsonl", lines(3))
    await file("bad.jsonl", "not JSON\n")
    const full = openSync("/dev/full", "w")
    for (const [args, code] of [
      [["verify", "jsonl", "in.jsonl"], 1],
      [IMPORT, 0],
      [["verify", "jsonl", "in.jsonl"], 0],
      [["import", "jsonl", "bad.jsonl"], 1],
      [["dlq", "replay", "--all"], 0],
      [["audit"], 0],
    ] as const) {
      const ended = await runInto([...args], { out: full })
      const told = ended.err
        .split("\n")
        .filter((line) => line.startsWith("Continues without standard output"))
      expect([args, ended.code, told]).toEqual([args, code, [expect.stringContaining("the disk is full")]])
      expect(ended.err).not.toContain("Gave up")
    }
    closeSync(full)
  })

  it("does not change the exit code of an import", async () => {
    await file("in.jsonl", `${lines(3)}not JSON\n`)
    expect(await runInto(IMPORT, { out: "closed" })).toMatchObject({ code: 1 })
    await file("other.jsonl", lines(2000))
    expect(
      await runInto(["import", "jsonl", "other.jsonl", "--batch-size", "50"], { err: "closed" }),
    ).toMatchObject({ code: 0 })
    expect(await rig.query("select 1 from signals")).toHaveLength(2003)
  })

  it.each(PRINTERS)("ends a listing with 0 when it is closed: %j", async (args) => {
    await file("in.jsonl", lines(3))
    await run(folder.path, IMPORT, { SIGNAL_INGEST_URL: rig.service.address })
    expect(await runInto(args, { out: "closed" })).toMatchObject({ code: 0 })
  })

  it.each(PRINTERS)("ends with 3 and a sentence where its disk is full: %j", async (args) => {
    await file("in.jsonl", lines(3))
    await run(folder.path, IMPORT, { SIGNAL_INGEST_URL: rig.service.address })
    const full = openSync("/dev/full", "w")
    const { code, err } = await runInto(args, { out: full })
    closeSync(full)
    expect([code, err]).toEqual([3, expect.stringContaining("Gave up: standard output: the disk is full")])
  })
})

describe("an import", () => {
  it("shows its rate", async () => {
    await file("in.jsonl", lines(500))
    const { err } = await run(folder.path, IMPORT, { SIGNAL_INGEST_URL: rig.service.address })
    expect(err).toMatch(/500 read, 500 stored, [1-9][\d,]*\/s/)
    expect(await storedNumbers(rig)).toEqual(upTo(500))
  })

  it("is read as it is by tail, to the last digit", async () => {
    await file("in.jsonl", '{"context_window_id":"c","payload":{"n":12345678901234567890}}\n')
    await run(folder.path, IMPORT, { SIGNAL_INGEST_URL: rig.service.address })
    const { out } = await run(folder.path, ["tail"], { SIGNAL_INGEST_URL: rig.service.address })
    expect(out).toContain('{"n":12345678901234567890}')
  })
})

describe("a file of saved progress", () => {
  it.each(["a FIFO", "a folder", "another text"])("is never %s: --cursor-file", async (what) => {
    const path = join(folder.path, "cursor")
    if (what === "a FIFO") await once(spawn("mkfifo", [path]), "close")
    else if (what === "a folder") await mkdir(path)
    else await file("cursor", "precious text\n")
    const { code, err } = await run(folder.path, ["tail", "--cursor-file", "cursor"], {
      SIGNAL_INGEST_URL: rig.service.address,
    })
    expect([code, err]).toEqual([
      2,
      expect.stringMatching(/Name (a file|another|another file) with --cursor-file/),
    ])
    if (what === "another text") expect(await readFile(path, "utf8")).toBe("precious text\n")
  })

  it("is not shared by two tails", async () => {
    const args = ["tail", "--follow", "--cursor-file", "cursor"]
    const env = { SIGNAL_INGEST_URL: rig.service.address }
    await file("in.jsonl", lines(3))
    await run(folder.path, IMPORT, env)
    const first = start(folder.path, args, env)
    await expect.poll(() => first.said.out).toContain('"raw_content":"2"')
    expect(await run(folder.path, args, env)).toMatchObject({
      code: 2,
      err: expect.stringContaining("in use"),
    })
    first.child.kill("SIGINT")
    expect(await first.ended).toBe(130)
  })

  it.each(["a FIFO", "a folder"])("is never replaced with --force: %s", async (what) => {
    const path = join(folder.path, "out")
    if (what === "a FIFO") await once(spawn("mkfifo", [path]), "close")
    else await mkdir(path)
    const { code, err } = await run(folder.path, ["export", "--format", "csv", "--out", "out", "--force"], {
      SIGNAL_INGEST_URL: rig.service.address,
    })
    expect([code, err]).toEqual([2, expect.stringMatching(/Name (a file|another) with --out/)])
  })
})

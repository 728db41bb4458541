import { createHash, randomUUID } from "node:crypto"
import { existsSync } from "node:fs"
import { mkdtemp, readFile, rm, stat, truncate, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { gunzipSync } from "node:zlib"
import { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects } from "hyparquet"
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest"
import { CSV_HEADER } from "../../../../src/signals/lines.ts"
import { mountSmallDisk } from "../../../long/faults/matrix/small-disk.ts"
import { type FaultyProxy, startProxy } from "../../../setup/proxy.ts"
import { type Rig, startRig } from "../../../setup/rig.ts"
import { run, start } from "../import/importer.ts"

let rig: Rig
let proxy: FaultyProxy
let folder: string
/** The ids of the signals, newest first. */
let ids: number[]

/** Some blocks of every format: 36 MB. */
const ROWS = 12_000
const ROW_CHARACTERS = 3000

beforeAll(async () => {
  rig = await startRig()
  proxy = await startProxy(rig.service.address)
  const id = randomUUID()
  await rig.query(
    "insert into batches (transaction_id, caller, state, total_count, failed_count, failures) values ($1, 'test', 'stored', 1, 0, '[]')",
    [id],
  )
  await rig.query(
    `insert into signals (time, transaction_id, context_window_id, signal_source, signal_score, escalate_flag, raw_content, user_id, payload)
     select timestamptz '2026-01-01' + n / 10 * interval '1 second', $1, 'c' || n % 3, 'test', 0.5, 0, repeat('x', $2::int4), 'u' || n % 100,
       jsonb_build_object('n', n, 'a=b', jsonb_build_object('c', n % 2 = 0))
     from generate_series(1, $3::int4) as n`,
    [id, ROW_CHARACTERS, ROWS],
  )
  ids = (await rig.query<{ id: string }>("select id from signals order by time desc, id desc")).map((row) =>
    Number(row.id),
  )
})
afterAll(async () => {
  await proxy?.stop()
  await rig?.stop()
})
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "signal-ingest-export-"))
  proxy.mishaps.length = 0
  proxy.seen.length = 0
})
afterEach(() => rm(folder, { recursive: true, force: true }))

const environment = () => ({ SIGNAL_INGEST_URL: proxy.address })
const exported = (...args: string[]) => run(folder, ["export", ...args], environment())
const path = (name: string) => join(folder, name)

type Format = "ndjson" | "csv" | "parquet"

/** The ids of a file in its order. */
async function idsIn(name: string, format: Format): Promise<number[]> {
  if (format === "parquet") {
    const file = await asyncBufferFromFile(path(name))
    return (await parquetReadObjects({ file, columns: ["id"] })).map(({ id }) => Number(id))
  }
  const bytes = await readFile(path(name))
  const lines = (name.endsWith(".gz") ? gunzipSync(bytes) : bytes).toString().split("\n").filter(Boolean)
  if (format === "ndjson") return lines.map((line) => (JSON.parse(line) as { id: number }).id)
  expect(`${lines[0]}\n`).toBe(CSV_HEADER)
  return lines.slice(1).map((line) => Number(line.split(",", 1)[0]))
}

interface State {
  bytes: number
  finished: boolean
}

async function stateOf(name: string): Promise<State | undefined> {
  const text = await readFile(path(`${name}.partial/state.json`), "utf8").catch(() => undefined)
  return text === undefined ? undefined : (JSON.parse(text) as State)
}

/** Runs an export whose service goes away after some pages. */
async function cutShort(args: readonly string[]): Promise<{ code: number | null; err: string }> {
  const { ended, said } = start(folder, ["export", ...args], environment())
  await expect.poll(() => proxy.seen.length, { interval: 5 }).toBeGreaterThan(4)
  proxy.mishaps.push(...Array.from({ length: 200 }, () => ({ kind: "refuse" as const })))
  const code = await ended
  proxy.mishaps.length = 0
  return { code, err: said.err }
}

const FORMATS: [name: string, format: Format, more: string[]][] = [
  ["all.jsonl", "ndjson", []],
  ["all.jsonl.gz", "ndjson", ["--gzip"]],
  ["all.csv", "csv", []],
  ["all.csv.gz", "csv", ["--gzip"]],
  ["all.parquet", "parquet", []],
]

describe("signals export", () => {
  it.each(FORMATS)(
    "continues %s after kill -9, and has each signal once, in order",
    async (name, format, more) => {
      const args = ["--format", format, "--out", name, ...more]
      const first = start(folder, ["export", ...args], environment())
      await expect.poll(async () => (await stateOf(name))?.bytes ?? 0, { interval: 5 }).toBeGreaterThan(0)
      first.child.kill("SIGKILL")
      await first.ended
      const state = await stateOf(name)
      expect(state?.finished).toBe(false)
      expect(existsSync(path(name))).toBe(false)
      const before = digestOf((await readFile(path(`${name}.partial/data`))).subarray(0, state?.bytes))

      const second = await exported(...args)
      expect([second.code, second.err]).toEqual([0, expect.stringContaining("Continuing after ")])
      expect(await idsIn(name, format)).toEqual(ids)
      expect(digestOf((await readFile(path(name))).subarray(0, state?.bytes))).toBe(before)
      expect(existsSync(path(`${name}.partial`))).toBe(false)
    },
  )

  it("writes Parquet in row groups, with types", async () => {
    expect((await exported("--format", "parquet", "--out", "a.parquet")).code).toBe(0)
    const metadata = await parquetMetadataAsync(await asyncBufferFromFile(path("a.parquet")))
    expect(metadata.row_groups.length).toBeGreaterThan(1)
    expect(
      Object.fromEntries(
        metadata.schema.map(({ name, type, logical_type }) => [name, [type, logical_type?.type]]),
      ),
    ).toMatchObject({
      id: ["INT64", undefined],
      time: ["INT64", "TIMESTAMP"],
      signal_score: ["DOUBLE", undefined],
      escalate_flag: ["INT32", undefined],
      payload: ["BYTE_ARRAY", "STRING"],
    })
  })

  it("ends in order at Ctrl-C, and continues", async () => {
    const args = ["--format", "ndjson", "--out", "a.jsonl"]
    const first = start(folder, ["export", ...args], environment())
    await expect.poll(() => proxy.seen.length, { interval: 5 }).toBeGreaterThan(2)
    first.child.kill("SIGINT")
    expect([await first.ended, first.said.err]).toEqual([
      130,
      expect.stringMatching(/Stopped after .* signals.*The same command continues\./),
    ])
    expect((await stateOf("a.jsonl"))?.bytes).toBeGreaterThan(0)
    expect((await exported(...args)).code).toBe(0)
    expect(await idsIn("a.jsonl", "ndjson")).toEqual(ids)
  })

  it("does not continue from another database behind the same address", async () => {
    const args = ["--format", "ndjson", "--out", "a.jsonl"]
    const first = start(folder, ["export", ...args], environment())
    await expect.poll(() => proxy.seen.length, { interval: 5 }).toBeGreaterThan(2)
    first.child.kill("SIGINT")
    expect(await first.ended).toBe(130)
    const before = await readFile(path("a.jsonl.partial/data"))
    proxy.mishaps.push({
      kind: "answer",
      status: 404,
      headers: { "Content-Type": "application/json" },
      body: '{"detail":"No batch has this id.","code":"not_found"}',
    })
    const { code, err } = await exported(...args)
    expect([code, err]).toEqual([2, expect.stringContaining("its database is another one")])
    expect(await readFile(path("a.jsonl.partial/data"))).toEqual(before)
    expect((await exported(...args)).code).toBe(0)
    expect(await idsIn("a.jsonl", "ndjson")).toEqual(ids)
  })

  it("keeps what it has when the service is away for longer than the deadline, and continues", async () => {
    const args = ["--format", "csv", "--out", "a.csv", "--deadline", "2"]
    const { code, err } = await cutShort(args)
    expect([code, err]).toEqual([
      3,
      expect.stringMatching(
        /Gave up: no answer within 2000 ms.*\nSo far: [\d,]+ signals, .*The same command continues\./,
      ),
    ])
    expect((await exported(...args)).code).toBe(0)
    expect(await idsIn("a.csv", "csv")).toEqual(ids)
  })

  it("keeps what it has when the database does not finish a page in time", async () => {
    const args = ["--format", "ndjson", "--out", "a.jsonl"]
    const { ended, said } = start(folder, ["export", ...args], environment())
    await expect.poll(() => proxy.seen.length, { interval: 5 }).toBeGreaterThan(2)
    const detail = [
      { type: "read_too_costly", loc: ["query"], msg: "The database does not finish this read" },
    ]
    proxy.mishaps.push({ kind: "answer", status: 422, body: JSON.stringify({ detail }) })
    expect([await ended, said.err]).toEqual([
      3,
      expect.stringMatching(
        /Gave up: query: The database does not finish this read.*\nSo far: .*The same command continues\./,
      ),
    ])
    expect((await exported(...args)).code).toBe(0)
    expect(await idsIn("a.jsonl", "ndjson")).toEqual(ids)
  })

  it("gives a clear error when the disk is full, and continues when there is room", async ({ skip }) => {
    const disk = await mountSmallDisk("80m")
    if (!disk) return skip()
    try {
      const args = ["export", "--format", "ndjson", "--out", join(disk.path, "a.jsonl")]
      const first = start(folder, args, environment())
      await expect
        .poll(() => readFile(join(disk.path, "a.jsonl.partial/state.json"), "utf8").catch(() => ""), {
          interval: 5,
        })
        .not.toBe("")
      await disk.fill()
      expect([await first.ended, first.said.err]).toEqual([
        3,
        expect.stringMatching(
          /Gave up: the disk is full \(ENOSPC.*Make room\.\nSo far: .*The same command continues\./,
        ),
      ])
      await disk.free()
      expect((await run(folder, args, environment())).code).toBe(0)
      const lines = (await readFile(join(disk.path, "a.jsonl"), "utf8")).split("\n").filter(Boolean)
      expect(lines.map((line) => (JSON.parse(line) as { id: number }).id)).toEqual(ids)
    } finally {
      await disk.remove()
    }
  })

  it("takes the filters of the list", async () => {
    const args = [
      "--conversation",
      "c1",
      "--user",
      "u1",
      "--source",
      "test",
      "--escalate",
      "0",
      "--min-score",
      "0.5",
      "--max-score",
      "0.5",
    ]
    const times = ["--since", "2026-01-01T00:10:00Z", "--until", "2026-01-01T00:20:00Z"]
    expect((await exported("--format", "ndjson", "--out", "a.jsonl", ...args, ...times)).code).toBe(0)
    const rows = await rig.query<{ id: string }>(
      `select id from signals where context_window_id = 'c1' and user_id = 'u1' and time >= '2026-01-01T00:10:00Z' and time < '2026-01-01T00:20:00Z' order by time desc, id desc`,
    )
    expect(rows.length).toBeGreaterThan(0)
    expect(await idsIn("a.jsonl", "ndjson")).toEqual(rows.map(({ id }) => Number(id)))
    expect((await exported("--format", "csv", "--out", "none.csv", "--agent", "nobody")).code).toBe(0)
    expect(await readFile(path("none.csv"), "utf8")).toBe(CSV_HEADER)
    expect(
      (await exported("--format", "ndjson", "--gzip", "--out", "none.gz", "--agent", "nobody")).code,
    ).toBe(0)
    expect(gunzipSync(await readFile(path("none.gz"))).toString()).toBe("")
    expect((await exported("--format", "parquet", "--out", "none.parquet", "--agent", "nobody")).code).toBe(0)
    expect(await idsIn("none.parquet", "parquet")).toEqual([])
  })

  it("searches texts and payloads", async () => {
    const search = ["--contains", "xXx", "--payload", "n=7", "a\\=b.c=false"]
    expect((await exported("--format", "ndjson", "--out", "a.jsonl", ...search)).code).toBe(0)
    const rows = await rig.query<{ id: string }>("select id from signals where payload ->> 'n' = '7'")
    expect(await idsIn("a.jsonl", "ndjson")).toEqual(rows.map(({ id }) => Number(id)))
    const none = await exported("--format", "ndjson", "--out", "-", "--contains", "%", "--user", "u1")
    expect([none.code, none.out]).toEqual([0, ""])
  })

  it("prints to standard output, and ends quietly when its reader leaves", async () => {
    const { code, out } = await exported("--format", "ndjson", "--out", "-", "--user", "u1")
    expect([code, out.split("\n").length - 1]).toEqual([0, ROWS / 100])
    const all = start(folder, ["export", "--format", "ndjson", "--out", "-"], environment())
    all.child.stdout?.once("data", () => all.child.stdout?.destroy())
    expect([await all.ended, all.said.err]).toEqual([0, expect.not.stringContaining("Error")])
  })

  it("replaces no file that exists, unless it is told to", async () => {
    await writeFile(path("a.jsonl"), "mine")
    const args = ["--format", "ndjson", "--out", "a.jsonl", "--user", "u1"]
    const { code, err } = await exported(...args)
    expect([code, err]).toEqual([
      2,
      expect.stringContaining("a.jsonl exists already. Replace it with --force"),
    ])
    expect(await readFile(path("a.jsonl"), "utf8")).toBe("mine")
    expect((await exported(...args, "--force")).code).toBe(0)
    expect((await idsIn("a.jsonl", "ndjson")).length).toBe(ROWS / 100)
  })

  it("is refused while another export writes the file", async () => {
    const args = ["--format", "ndjson", "--out", "a.jsonl"]
    const first = start(folder, ["export", ...args], environment())
    await expect
      .poll(() => readFile(path("a.jsonl.partial/state.json")).catch(() => ""), { interval: 5 })
      .not.toBe("")
    first.child.kill("SIGSTOP")
    const second = await exported(...args)
    expect([second.code, second.err]).toEqual([
      2,
      expect.stringContaining(`a.jsonl.partial is in use by process ${first.child.pid} on `),
    ])
    first.child.kill("SIGCONT")
    expect(await first.ended).toBe(0)
    expect(await idsIn("a.jsonl", "ndjson")).toEqual(ids)
  })

  it("continues no other export, and none whose bytes are gone, unless it starts again", async () => {
    const args = ["--format", "ndjson", "--out", "a.jsonl", "--deadline", "2"]
    expect((await cutShort(args)).code).toBe(3)
    const other = await exported(...args, "--user", "u1")
    expect([other.code, other.err]).toEqual([2, expect.stringContaining("a.jsonl.partial is an export of")])
    await truncate(path("a.jsonl.partial/data"), 100)
    const lost = await exported(...args)
    expect([lost.code, lost.err]).toEqual([2, expect.stringContaining("has fewer bytes than its state says")])
    expect((await exported(...args, "--user", "u1", "--restart")).code).toBe(0)
    expect((await stat(path("a.jsonl"))).size).toBeGreaterThan(0)
  })

  it.each<[string[], string]>([
    [["--format", "parquet", "--out", "-"], "parquet is written to a file."],
    [["--format", "parquet", "--out", "a", "--gzip"], "--gzip is for ndjson and csv"],
    [["--format", "xml", "--out", "a"], "Allowed choices are ndjson, csv, parquet."],
    [["--format", "csv"], 'Required option "--out <file>" not specified.'],
    [["--format", "csv", "--out", "a", "--min-score", "2"], "It must be a number from 0 to 1."],
    [["--format", "csv", "--out", "a", "--since", "yesterday"], "query.since: "],
    [
      ["--format", "csv", "--out", "a", "--payload", "n"],
      "--payload n has no value. Write a path and a value",
    ],
    [["--format", "csv", "--out", "a", "--payload", "a..b=1"], "query.payload.a..b: "],
    [["--format", "csv", "--out", "a", "--contains", "x".repeat(201)], "query.q: "],
    [["--format", "csv", "--out", "."], ". is a folder."],
  ])("refuses %j with a sentence", async (args, sentence) => {
    const { code, err } = await exported(...args)
    expect([code, err]).toEqual([2, expect.stringContaining(sentence)])
    expect(err).not.toMatch(/^\s+at /m)
  })
})

const digestOf = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex")

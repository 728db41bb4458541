import { readFile, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { gzipSync } from "node:zlib"
import { describe, expect, it } from "vitest"
import { run, start } from "../../node/cli/import/importer.ts"
import { storedNumbers, upTo, useEmptyTables, useFolder, useProxy, useRig } from "../../setup/hooks/rig.ts"
import { seededRandom } from "../../setup/random.ts"

const SEED = Number(process.env.SEED ?? 20_261_123)

const rig = useRig()
const proxy = useProxy(rig)
const folder = useFolder()
useEmptyTables(rig)

const signals = (...args: string[]) => run(folder.path, args, { SIGNAL_INGEST_URL: proxy.address })
const file = (name: string, text: string | Buffer) => writeFile(join(folder.path, name), text)
const line = (index: number, more: object = {}) =>
  `${JSON.stringify({ context_window_id: `conv-${index % 7}`, raw_content: String(index), ...more })}\n`
const lines = (count: number) => Array.from({ length: count }, (_, index) => line(index)).join("")
const stored = () => storedNumbers(rig)

describe("a hostile source", () => {
  const deep = `${"[".repeat(300_000)}${"]".repeat(300_000)}`

  it.each([
    [
      "12 million arrays",
      `[${"[],".repeat(12_000_000)}[]]`,
      "in.json:1: The file is one JSON document of more than 10 million values.",
    ],
    [
      "12 million arrays in lines",
      `[\n${"[],\n".repeat(12_000_000)}[]]`,
      "in.json: The file is one JSON document of more than 10 million",
    ],
    ["300,000 levels", deep, "in.json:1: The value nests deeper than 1000 levels"],
  ])("is refused with a sentence, in bounded memory: %s", async (_, text, sentence) => {
    await file("in.json", text)
    const { code, err } = await signals("import", "slack", "in.json", "--dry-run")
    expect([code, err]).toEqual([1, expect.stringContaining(sentence)])
  })

  it("is refused with a sentence where a line nests deeply", async () => {
    await file("in.jsonl", `{"context_window_id":"c","payload":{"a":${deep}}}\n`)
    const { code, err } = await signals("import", "jsonl", "in.jsonl", "--dry-run")
    expect([code, err]).toEqual([
      1,
      expect.stringContaining("in.jsonl:1: The value nests deeper than 1000 levels"),
    ])
  })
})

describe("signals import jsonl", () => {
  it("stores each line once, and prints the counts", async () => {
    await file("in.jsonl", lines(1234))
    expect(await signals("import", "jsonl", "in.jsonl", "--batch-size", "100")).toMatchObject({
      code: 0,
      out: "Imported: 1234 read, 1234 stored, 0 failed.\n",
    })
    expect(await stored()).toEqual(upTo(1234))
    expect(await signals("import", "jsonl", "in.jsonl", "--batch-size", "100")).toMatchObject({
      code: 0,
      out: expect.stringMatching(/^The whole source was imported before/),
    })
    expect(await stored()).toHaveLength(1234)
    expect(await signals("verify", "jsonl", "in.jsonl")).toMatchObject({
      code: 0,
      out: expect.stringContaining("The service has each of these signals once."),
    })
  })

  it("is verified where the service has too many signals to count at once", async () => {
    await file("in.jsonl", lines(1234))
    const [former] = await rig.query<{ text: string }>(
      "select pg_get_functiondef(oid) as text from pg_proc where proname = 'signal_stats'",
    )
    // As if there were one signal more than it counts.
    await rig.query(
      `create or replace function signal_stats(p_since timestamptz, p_most integer, p_listed integer)
       returns table (context_window_id text, signal_count bigint, avg_score float8, latest timestamptz) language sql stable
       as $$ select null, p_most::bigint, 0.5::float8, now() $$`,
    )
    try {
      expect(await signals("import", "jsonl", "in.jsonl", "--batch-size", "100")).toMatchObject({ code: 0 })
      await rig.query("truncate batches")
      expect(await signals("import", "jsonl", "in.jsonl", "--batch-size", "100")).toMatchObject({
        code: 0,
        err: expect.stringContaining("its database is another one"),
      })
      const differs = await signals("verify", "jsonl", "in.jsonl")
      expect(differs).toMatchObject({
        code: 1,
        out: expect.stringContaining("conv-0: 177 in the source, 354 in the service"),
      })
      expect(differs.err).toMatch(
        /too many signals after .+ to count them at once, so each of the 7 conversations is read by itself/,
      )
      await rig.query(
        "delete from signals as one using signals as other where one.id > other.id and one.raw_content = other.raw_content",
      )
      expect(await signals("verify", "jsonl", "in.jsonl")).toMatchObject({
        code: 0,
        out: expect.stringContaining("The service has each of these signals once."),
      })
    } finally {
      await rig.query(former?.text ?? "")
    }
  })

  it("reads gzip, standard input, a byte order mark, CRLF and a last line without a newline", async () => {
    await file("in.jsonl.gz", gzipSync(`\uFEFF${lines(3).replaceAll("\n", "\r\n")}${line(3).trim()}`))
    expect(await signals("import", "jsonl", "in.jsonl.gz")).toMatchObject({ code: 0 })
    expect(await stored()).toEqual(upTo(4))
    expect(
      await run(folder.path, ["import", "jsonl", "-"], { SIGNAL_INGEST_URL: proxy.address }, line(4)),
    ).toMatchObject({
      code: 0,
    })
    expect(await stored()).toEqual(upTo(5))
  })

  it("keeps every digit", async () => {
    await file("in.jsonl", '{"context_window_id": "c", "payload": {"n": 12345678901234567890.10}}\n')
    await signals("import", "jsonl", "in.jsonl")
    expect(await rig.query("select payload::text from signals")).toEqual([
      { payload: '{"n": 12345678901234567890.10}' },
    ])
  })

  it("writes records that were not stored into a file that can be corrected and imported", async () => {
    await file(
      "in.jsonl",
      `${line(0)}not JSON\n${line(1, { signal_score: 2 })}{"raw_content": "no conversation"}\n${line(2)}`,
    )
    const first = await signals("import", "jsonl", "in.jsonl", "--failures", "failed.jsonl")
    expect(first).toMatchObject({ code: 1, out: expect.stringContaining("5 read, 2 stored, 3 failed") })
    const failed = (await readFile(join(folder.path, "failed.jsonl"), "utf8"))
      .trimEnd()
      .split("\n")
      .map((text) => JSON.parse(text))
    expect(failed).toEqual([
      { _line: "not JSON", _error: "The line is not JSON", _code: "unreadable_record", _place: "in.jsonl:2" },
      {
        context_window_id: "conv-1",
        raw_content: "1",
        signal_score: 2,
        _error: "signal_score must be between 0 and 1",
        _code: "out_of_range",
        _field: "signal_score",
        _place: "in.jsonl:3",
      },
      {
        raw_content: "no conversation",
        _error: "context_window_id: Field required",
        _code: "missing_field",
        _field: "context_window_id",
        _place: "in.jsonl:4",
      },
    ])
    await file(
      "mended.jsonl",
      failed
        .slice(1, 2)
        .map((one) => `${JSON.stringify({ ...one, signal_score: 1 })}\n`)
        .join(""),
    )
    expect(await signals("import", "jsonl", "mended.jsonl")).toMatchObject({ code: 0 })
    expect(await stored()).toEqual([0, 1, 2])
  })

  it("fails only the line that is not UTF-8, and keeps its bytes", async () => {
    await file(
      "in.jsonl",
      Buffer.concat([
        Buffer.from(`${line(0)}{"context_window_id":"c","raw_content":"caf`),
        Buffer.from([0xe9]),
        Buffer.from(`"}\n${line(1)}`),
      ]),
    )
    expect(await signals("import", "jsonl", "in.jsonl", "--failures", "failed.jsonl")).toMatchObject({
      code: 1,
    })
    expect(await stored()).toEqual([0, 1])
    const [failed] = (await readFile(join(folder.path, "failed.jsonl"), "utf8"))
      .split("\n")
      .map((text) => JSON.parse(text || "{}"))
    expect(failed).toMatchObject({ _error: "The line is not UTF-8", _place: "in.jsonl:2" })
    expect(Buffer.from(failed._base64, "base64").toString("latin1")).toBe(
      '{"context_window_id":"c","raw_content":"café"}',
    )
  })

  it("names the fields that the service does not store", async () => {
    await file("in.jsonl", line(0, { text: "lost" }))
    expect(await signals("import", "jsonl", "in.jsonl")).toMatchObject({
      code: 0,
      out: expect.stringContaining("a signal has no such field: text."),
    })
  })

  it.each(["[\n", '{"signals": [\n'])(
    "refuses a JSON document that begins with %j, and says how to convert it",
    async (text) => {
      await file("in.json", text)
      expect(await signals("import", "jsonl", "in.json")).toMatchObject({
        code: 2,
        err: expect.stringContaining("Convert it: jq -c"),
      })
    },
  )

  it("finishes a batch of signals with the wrong shape, and prints the reasons", async () => {
    const bad = JSON.stringify({ raw_content: 1, user_id: 2, agent_id: 3 })
    await file("in.jsonl", `${`${bad}\n`.repeat(499)}${line(7)}`)
    expect(await signals("import", "jsonl", "in.jsonl")).toMatchObject({
      code: 1,
      out: expect.stringMatching(
        /500 read, 1 stored, 499 failed[\s\S]*\n {2}499: context_window_id: Field required\n/,
      ),
    })
    expect(await stored()).toEqual([7])
    expect(proxy.seen.length).toBeLessThan(4)
  })

  it("prints the signals, or writes them for curl, and sends nothing", async () => {
    await file("in.jsonl", lines(3))
    const dry = await signals("import", "jsonl", "in.jsonl", "--dry-run")
    expect(dry).toMatchObject({
      code: 0,
      out: lines(3),
      err: expect.stringContaining("3 signals would be sent"),
    })
    expect(await signals("import", "jsonl", "in.jsonl", "-o", "batch.json")).toMatchObject({
      code: 0,
      err: "3 signals in batch.json.\n",
    })
    expect(JSON.parse(await readFile(join(folder.path, "batch.json"), "utf8")).signals).toHaveLength(3)
    expect(await signals("import", "jsonl", "in.jsonl", "-o", "two.json", "--batch-size", "2")).toMatchObject(
      {
        err: "3 signals in two-1.json to two-2.json.\n",
      },
    )
    expect(proxy.seen).toEqual([])
  })
})

describe("an interrupted import", () => {
  it("stores each signal once despite lost answers, 503s and 429s, and lowers its concurrency", async () => {
    await file("in.jsonl", lines(2000))
    const answer = (status: number) => ({
      kind: "answer" as const,
      status,
      headers: { "Retry-After": "0" },
      body: '{"detail": "later"}',
    })
    proxy.mishaps.push(
      ...upTo(30).map(
        (index) =>
          [{ kind: "lose" as const }, answer(503), answer(429), { kind: "cut" as const }][index % 4] ??
          answer(503),
      ),
    )
    rig.endpoint.faults.loseAnswers = 5
    expect(await signals("import", "jsonl", "in.jsonl", "--batch-size", "50")).toMatchObject({ code: 0 })
    expect(await stored()).toEqual(upTo(2000))
  })

  it(`stores each signal once although it is killed repeatedly (seed ${SEED})`, async () => {
    await file("in.jsonl", `${lines(3000)}${line(0, { signal_score: 9, raw_content: "bad" })}`)
    const random = seededRandom(SEED)
    const args = ["import", "jsonl", "in.jsonl", "--batch-size", "20", "--failures", "failed.jsonl"]
    let kills = 0
    for (; kills < 8; kills++) {
      const { child, ended } = start(folder.path, args, { SIGNAL_INGEST_URL: proxy.address })
      const killAfter = proxy.seen.length + 2 + Math.floor(random() * 15)
      await expect.poll(() => proxy.seen.length, { interval: 1 }).toBeGreaterThanOrEqual(killAfter)
      child.kill("SIGKILL")
      expect(await ended).toBeNull()
    }
    const last = await signals(...args)
    expect(last).toMatchObject({ code: 1, out: expect.stringContaining("3001 read, 3000 stored, 1 failed") })
    expect(last.err).toContain("Continuing after")
    expect(await stored()).toEqual(upTo(3000))
    expect((await readFile(join(folder.path, "failed.jsonl"), "utf8")).trimEnd().split("\n")).toHaveLength(1)
  })

  it("stops at Ctrl-C, and continues there", async () => {
    await file("in.jsonl", lines(3000))
    const args = ["import", "jsonl", "in.jsonl", "--batch-size", "10", "--concurrency", "2"]
    const { child, ended, said } = start(folder.path, args, { SIGNAL_INGEST_URL: proxy.address })
    await expect.poll(() => proxy.seen.length, { interval: 1 }).toBeGreaterThan(5)
    child.kill("SIGINT")
    expect(await ended).toBe(130)
    expect(said.out).toMatch(/^Stopped; the same command continues: \d+ read/)
    const before = (await stored()).length
    expect(before).toBeLessThan(3000)
    expect(await signals(...args)).toMatchObject({
      code: 0,
      out: expect.stringContaining("3000 read, 3000 stored"),
    })
    expect(await stored()).toEqual(upTo(3000))
  })

  it("gives up when the service does not answer, and says that the same command continues", async () => {
    await file("in.jsonl", lines(10))
    const gone = await run(folder.path, [
      "import",
      "jsonl",
      "in.jsonl",
      "--deadline",
      "1",
      "--url",
      "http://127.0.0.1:2",
    ])
    expect(gone).toMatchObject({
      code: 3,
      err: expect.stringMatching(
        /^Gave up: no answer within 1000 ms.*\nSo far: 0 read, 0 stored, 0 failed\. The same command continues\.$/m,
      ),
    })
    expect(await signals("import", "jsonl", "in.jsonl")).toMatchObject({ code: 0 })
    expect(await stored()).toEqual(upTo(10))
  })
})

describe("a file that cannot be read", () => {
  it.each([
    ["the state", ["--state", "in.jsonl/state.json"]],
    ["the failures", ["--failures", "in.jsonl/failed.jsonl"]],
  ])("ends the import with a sentence that names it: %s", async (_, args) => {
    await file("in.jsonl", "not JSON\n")
    const { code, err } = await signals("import", "jsonl", "in.jsonl", ...args)
    expect([code, err]).toEqual([3, expect.stringMatching(/^Gave up: E(NOTDIR|EXIST).*in\.jsonl/m)])
    expect(err).not.toMatch(/^\s+at /m)
  })
})

describe("a gzip file that is cut off", () => {
  it.each(["in.jsonl.gz", "in.csv.gz"])(
    "ends the import of %s with 3 and a sentence, and keeps what was stored",
    async (name) => {
      const kind = name.split(".")[1] ?? ""
      const rows = Array.from({ length: 5000 }, (_, index) => `c,${index}-${crypto.randomUUID()}\n`).join("")
      const packed = gzipSync(kind === "csv" ? `context_window_id,user_id\n${rows}` : lines(5000))
      await file(name, packed.subarray(0, packed.length - 100))
      for (const command of [["import"], ["verify"]]) {
        const { code, err } = await signals(...command, kind, name)
        expect([code, err]).toEqual([3, expect.stringContaining(`Gave up: ${name} is truncated`)])
        expect(err).not.toMatch(/^\s+at /m)
      }
    },
  )
})

import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest"
import { run } from "../../node/cli/import/importer.ts"
import { type Rig, startRig } from "../../setup/rig.ts"

let rig: Rig
let folder: string

const FIELDS = `time, context_window_id, raw_content, signal_source, signal_score, signal_vector, emotional_tone, escalate_flag, agent_id,
  user_id, payload::text, relationship_context, diagnostic_notes, dedupe_key`

const TEXTS = [
  "",
  " ",
  "null",
  "\\N",
  "NaN",
  "=1+1",
  "a,b;c\td",
  'say "hi"',
  '"',
  "\r",
  "one\r\ntwo\nthree\rfour",
  "\uFEFFmark",
  "\u0001\u0002\u001f\u007f\u0085\u2028\u2029",
  "é😀\u200d𝒳\uFFFD",
  "'; drop table signals; --",
  "x".repeat(70_000),
]

const PAYLOADS = [
  "{}",
  '{"id": 12345678901234567890, "x": 0.1000000000000000055511151231257827, "e": 1e30, "small": 1e-30, "minus": -0.5}',
  '{"a": {"b": [1, 2.5, [null, true, "\\u0001\\n\\"\\\\", "😀"]], "": "empty name"}, "__proto__": {"x": 1}}',
  '{"text": "a,b\\r\\n\\"c\\""}',
]

beforeAll(async () => {
  rig = await startRig()
  const signals = [
    ...TEXTS.map((text, index) =>
      JSON.stringify({
        context_window_id: text.trim() === "" ? "c" : text.slice(0, 200),
        timestamp: `2026-01-01T00:00:00.${String(index * 3 + 1).padStart(6, "0")}Z`,
        raw_content: text,
        agent_id: [...text].slice(0, 1024).join(""),
        user_id: [...text].slice(0, 1024).join(""),
        signal_vector: text,
        relationship_context: text,
        diagnostic_notes: text,
        ...(text !== "" && { signal_source: text.slice(0, 200), dedupe_key: `key ${text.slice(0, 100)}` }),
      }),
    ),
    ...PAYLOADS.map(
      (payload) =>
        `{"context_window_id": "payload", "payload": ${payload}, "emotional_tone": 0.30000000000000004}`,
    ),
    ...[
      "0001-01-01T00:00:00.000001Z",
      "1969-12-31T23:59:59.999999Z",
      "1970-01-01T00:00:00Z",
      "2026-06-30T23:59:59.123456+05:30",
    ].map((timestamp) =>
      JSON.stringify({ context_window_id: "time", timestamp, signal_score: 0.1, escalate_flag: 1 }),
    ),
    '{"context_window_id": "score", "signal_score": 1e-7, "emotional_tone": 0}',
    '{"context_window_id": "same", "timestamp": "2026-01-01"}',
    '{"context_window_id": "same", "timestamp": "2026-01-01"}',
  ]
  const response = await fetch(`${rig.service.address}/api/signals/batch?fail_on_error=true`, {
    method: "POST",
    headers: { "Content-Type": "application/x-ndjson" },
    body: signals.join("\n"),
  })
  expect([response.status, await response.text()]).toEqual([
    200,
    expect.stringContaining(`"successful_count":${signals.length}`),
  ])
  await rig.query(`create table original as select ${FIELDS} from signals`)
  await rig.query("create table kept as select * from signals")
})
afterAll(() => rig?.stop())
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "signal-ingest-round-trip-"))
  await rig.query("truncate signals, batches, dedupe_keys")
  await rig.query("insert into signals overriding system value select * from kept")
})
afterEach(() => rm(folder, { recursive: true, force: true }))

const signals = (...args: string[]) => run(folder, args, { SIGNAL_INGEST_URL: rig.service.address })

/** What the table has otherwise than it had, with how often. */
const differences = () =>
  rig.query(`
    with now_stored as (select ${FIELDS} from signals)
    (select 'missing' as what, * from (select * from original except all select * from now_stored) as one)
    union all
    (select 'new' as what, * from (select * from now_stored except all select * from original) as other)`)

describe("an export", () => {
  it.each([
    ["ndjson", "jsonl", "all.jsonl", []],
    ["ndjson", "jsonl", "all.jsonl.gz", ["--gzip"]],
    ["csv", "csv", "all.csv", []],
    ["csv", "csv", "all.csv.gz", ["--gzip"]],
    ["parquet", "parquet", "all.parquet", []],
  ])("as %s and imported again is equal: import %s %s", async (format, kind, file, more) => {
    expect(await signals("export", "--format", format, "--out", file, ...more)).toMatchObject({ code: 0 })
    await rig.query("truncate signals, batches, dedupe_keys")
    const { code, out, err } = await signals("import", kind, file)
    expect([code, out, err]).toEqual([
      0,
      expect.stringMatching(/^Imported: \d+ read, \d+ stored, 0 failed\.\n$/),
      expect.any(String),
    ])
    expect(await differences()).toEqual([])
  })

  it.each([
    ["ndjson", "jsonl", "all.jsonl"],
    ["csv", "csv", "all.csv"],
  ])("of the service's stream as %s is equal, too", async (format, kind, file) => {
    const response = await fetch(`${rig.service.address}/api/signals/export?format=${format}`)
    await writeFile(join(folder, file), Buffer.from(await response.arrayBuffer()))
    await rig.query("truncate signals, batches, dedupe_keys")
    expect(await signals("import", kind, file)).toMatchObject({ code: 0 })
    expect(await differences()).toEqual([])
  })

  it("has the same bytes from the service as from the command as CSV, except for the format of payloads", async () => {
    const response = await fetch(
      `${rig.service.address}/api/signals/export?format=csv&context_window_id=time`,
    )
    expect(
      await signals("export", "--format", "csv", "--out", "a.csv", "--conversation", "time"),
    ).toMatchObject({ code: 0 })
    expect(await readFile(join(folder, "a.csv"), "utf8")).toBe(await response.text())
  })

  it("fails a signal whose payload was left out, and imports the others", async () => {
    await signals("export", "--format", "ndjson", "--out", "a.jsonl", "--conversation", "same")
    const [one = "", other = ""] = (await readFile(join(folder, "a.jsonl"), "utf8")).split("\n")
    await writeFile(join(folder, "a.jsonl"), `${one.replace(/\}$/, ',"payload_omitted":true}')}\n${other}\n`)
    const { code, out } = await signals("import", "jsonl", "a.jsonl")
    expect([code, out]).toEqual([1, expect.stringContaining("2 read, 1 stored, 1 failed")])
    expect(out).toContain("The payload was too large for the export.")
  })
})

import { createWriteStream } from "node:fs"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Readable } from "node:stream"
import { pipeline } from "node:stream/promises"
import { runSignals } from "./cli/run.ts"
import { COPY_COLUMNS, copyFrom, copyText } from "./copy.ts"
import { openConnection } from "./harness/database.ts"
import { describeMachine } from "./harness/machine.ts"
import { printTable } from "./harness/print.ts"
import { makeSignals } from "./harness/signals.ts"
import { startStack } from "./harness/stack.ts"

/**
 * `npx node bench/importer.ts [ROWS...]`: measures the importer's speed and peak memory with files and a
 * table of growing size, against COPY of the same rows. The deployed bundle runs on bare workerd; importer,
 * workerd, endpoint and Postgres share the machine.
 */
const SIZES = process.argv.length > 2 ? process.argv.slice(2).map(Number) : [10_000, 100_000, 1_000_000]

/**
 * Bounds the heap: without a bound V8 lets it grow before it collects garbage, and the peak would not show
 * the need.
 */
const HEAP = ["--max-old-space-size=64", "--max-semi-space-size=4"]

interface Measured {
  perSecond: number
  peakMiB: number
}

/** Yields parts of a large file as they are needed. */
function* chunks(
  rows: number,
  chunkOf: (signals: ReturnType<typeof makeSignals>) => string | Buffer,
): Generator<string | Buffer> {
  const SIZE = 5000
  const signals = makeSignals(SIZE)
  for (let done = 0; done < rows; done += SIZE) yield chunkOf(signals.slice(0, Math.min(SIZE, rows - done)))
}

async function runImport(
  folder: string,
  address: string,
  args: readonly string[],
  rows: number,
): Promise<Measured> {
  const options = { folder, address, nodeOptions: HEAP }
  const { seconds, peakMiB, said } = await runSignals(
    ["import", ...args, "--restart", "--concurrency", "4"],
    options,
  )
  if (!said.includes(`${rows} stored`)) throw new Error(`the import did not store ${rows} signals: ${said}`)
  return { perSecond: rows / seconds, peakMiB }
}

const stack = await startStack()
const folder = await mkdtemp(join(tmpdir(), "signal-ingest-bench-"))
const { client: admin } = await openConnection(stack.postgres.url)
try {
  console.log(`${await describeMachine(admin)}\n`)
  const lines: string[][] = []
  for (const rows of SIZES) {
    const file = join(folder, `${rows}.jsonl`)
    await pipeline(
      Readable.from(
        chunks(rows, (signals) => signals.map((signal) => `${JSON.stringify(signal)}\n`).join("")),
      ),
      createWriteStream(file),
    )
    const jsonl = await runImport(folder, stack.worker.address, ["jsonl", file], rows)
    // The same rows once more, from the table in which they are now.
    await admin.query(
      "create table source as select id, context_window_id, time as timestamp, raw_content, signal_source, signal_score, payload from signals",
    )
    await admin.query("truncate signals, batches")
    const query =
      "select context_window_id, timestamp, raw_content, signal_source, signal_score, payload from source order by id"
    const sql = await runImport(
      folder,
      stack.worker.address,
      ["sql", "--from", stack.postgres.url, "--query", query],
      rows,
    )
    await admin.query("drop table source; truncate signals, batches")

    const startedAt = performance.now()
    await pipeline(
      Readable.from(chunks(rows, copyText)),
      admin.query(copyFrom(`copy signals (${COPY_COLUMNS}) from stdin`)),
    )
    const copyPerSecond = rows / ((performance.now() - startedAt) / 1000)
    await admin.query("truncate signals, batches")
    const figures = [rows, jsonl.perSecond, jsonl.peakMiB, sql.perSecond, sql.peakMiB, copyPerSecond]
    const printed = figures.map((value) => Math.round(value).toLocaleString("en-US"))
    lines.push([...printed, (jsonl.perSecond / copyPerSecond).toFixed(2)])
    await rm(file)
  }
  printTable(["rows", "jsonl/s", "peak MiB", "sql/s", "peak MiB", "COPY/s", "jsonl of COPY"], lines)
} finally {
  await admin.end()
  await stack.stop()
  await rm(folder, { recursive: true, force: true })
}

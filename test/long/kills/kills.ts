import { spawn } from "node:child_process"
import { once } from "node:events"
import { copyFile, readFile, truncate, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { Readable } from "node:stream"
import { pipeline } from "node:stream/promises"
import { setTimeout as sleep } from "node:timers/promises"
import { fileURLToPath } from "node:url"
import type { Client } from "pg"
import { copyFrom } from "../../../bench/copy.ts"
import { corrected, expectedLines, refusedBefore, writeCsv, writeJsonLines } from "./messages.ts"
import type { Stand } from "./stand.ts"

const MAIN = fileURLToPath(new URL("../../../src/cli/main.ts", import.meta.url))
const POLL_MS = 50
/** The part of the messages that comes as JSON lines; the others come as CSV. */
const JSON_LINES = 0.7
/** The part of the compressed file that is there at first. */
const CUT_AT = 0.6

export interface Report {
  killed: Record<string, number>
  seconds: number
  /** Rows that only the table or only the messages have. */
  differences: number
}

/**
 * Imports messages into a stand while importer, Worker and Postgres are killed in turn: a compressed file
 * that is cut off, the same file mended, a CSV, and the corrected failures of both. Then compares the table
 * with the messages.
 *
 * @param random chooses the moments of the kills
 */
export async function importUnderKills(
  stand: Stand,
  {
    folder,
    messages,
    kills,
    random,
  }: { folder: string; messages: number; kills: number; random: () => number },
): Promise<Report> {
  const startedAt = performance.now()
  const middle = Math.floor(messages * JSON_LINES)
  const moments = Array.from({ length: kills }, () => random() * messages).sort((a, b) => a - b)
  const killer = new Killer(stand, moments)
  const run = (args: string[], state: string, before: number) =>
    runToItsEnd(args, { folder, address: stand.address, state: join(folder, state), before, killer })

  const [whole, source] = [join(folder, "whole.gz"), join(folder, "in.jsonl.gz")]
  await writeJsonLines(whole, 0, middle)
  await copyFile(whole, source)
  await truncate(source, Math.floor((await readFile(whole)).length * CUT_AT))
  await expectCode(3, run(["jsonl", source], "jsonl.json", 0))
  await copyFile(whole, source)
  await expectCode(1, run(["jsonl", source], "jsonl.json", 0))
  await writeCsv(join(folder, "in.csv"), middle, messages)
  await expectCode(1, run(["csv", join(folder, "in.csv")], "csv.json", middle))
  for (const kind of ["jsonl", "csv"]) await importCorrected(folder, kind, run)
  const differences = await compare(stand, messages)
  return { killed: killer.killed, seconds: (performance.now() - startedAt) / 1000, differences }
}

type Run = (args: string[], state: string, before: number) => Promise<{ code: number; said: string }>

async function importCorrected(folder: string, kind: string, run: Run): Promise<void> {
  const failures = await readFile(join(folder, `${kind}.failures.jsonl`), "utf8")
  const file = join(folder, `${kind}-corrected.jsonl`)
  await writeFile(file, failures.trimEnd().split("\n").map(corrected).join("\n"))
  await expectCode(0, run(["jsonl", file], `${kind}-corrected.json`, Number.POSITIVE_INFINITY))
}

async function expectCode(code: number, running: ReturnType<Run>): Promise<void> {
  const ended = await running
  console.log(ended.said.trim())
  if (ended.code !== code) throw new Error(`the import ended with ${ended.code}, not with ${code}`)
}

/** Kills importer, Worker and Postgres in turn, each when so many messages have been read. */
class Killer {
  readonly killed: Record<string, number> = { importer: 0, Worker: 0, Postgres: 0 }
  readonly #stand: Stand
  readonly #moments: number[]
  #count = 0

  constructor(stand: Stand, moments: number[]) {
    this.#stand = stand
    this.#moments = moments
  }

  /** @param killImporter kills the running importer */
  async look(read: number, killImporter: () => void): Promise<void> {
    const [moment] = this.#moments
    if (moment === undefined || read < moment) return
    this.#moments.shift()
    const name = (["importer", "Worker", "Postgres"] as const)[this.#count++ % 3] ?? "importer"
    console.log(`${Math.round(read).toLocaleString("en-US")} read: kills the ${name}`)
    this.killed[name] = (this.killed[name] ?? 0) + 1
    if (name === "importer") killImporter()
    else if (name === "Worker") await this.#stand.killWorker()
    else await this.#stand.killPostgres()
  }
}

interface RunOptions {
  folder: string
  address: string
  state: string
  /** Messages that were read before this source. */
  before: number
  killer: Killer
}

/** Runs an import until it ends by itself, again with the same command after each kill. */
async function runToItsEnd(args: string[], options: RunOptions): Promise<{ code: number; said: string }> {
  const { folder, address, state, before, killer } = options
  for (;;) {
    const command = [MAIN, "import", ...args, "--url", address, "--state", state, "--quiet"]
    const child = spawn(process.execPath, command, { cwd: folder, stdio: ["ignore", "pipe", "pipe"] })
    let said = ""
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding("utf8").on("data", (text: string) => (said += text))
    const ended = once(child, "close").then(([code]) => code as number | null)
    let isOver = false
    void ended.then(() => (isOver = true))
    while (!isOver) {
      await Promise.race([ended, sleep(POLL_MS)])
      if (!isOver) await killer.look(before + (await readOf(state)), () => child.kill("SIGKILL"))
    }
    const code = await ended
    if (code !== null) return { code, said }
  }
}

/** The records that an import has noted. */
async function readOf(state: string): Promise<number> {
  const text = await readFile(state, "utf8").catch(() => "{}")
  return (JSON.parse(text) as { read?: number }).read ?? 0
}

const STORED = `select context_window_id, time, raw_content, signal_source, signal_score, emotional_tone,
  escalate_flag::int4, user_id, dedupe_key, payload from signals`
const SENT = `select line->>'context_window_id', (line->>'timestamp')::timestamptz, line->>'raw_content',
  coalesce(line->>'signal_source', 'unknown'), (line->>'signal_score')::float8,
  (line->>'emotional_tone')::float8, 0, line->>'user_id', line->>'dedupe_key', line->'payload' from expected`

async function compare(stand: Stand, messages: number): Promise<number> {
  const client = await stand.connect()
  try {
    await client.query("create table expected (line jsonb)")
    await pipeline(Readable.from(expectedLines(messages)), client.query(copyFrom("copy expected from stdin")))
    const only = await countOf(client, `(${STORED}) except all (${SENT})`)
    const missing = await countOf(client, `(${SENT}) except all (${STORED})`)
    const rows = await countOf(client, "select from signals")
    console.log(`${rows} rows; except all: ${only} only in the table, ${missing} only in the messages`)
    console.log(`${refusedBefore(messages)} messages were corrected`)
    return only + missing + Math.abs(rows - messages)
  } finally {
    await client.end()
  }
}

async function countOf(client: Client, query: string): Promise<number> {
  const { rows } = await client.query<{ count: string }>(`select count(*) from (${query}) as found`)
  return Number(rows[0]?.count)
}

import { spawn } from "node:child_process"
import { once } from "node:events"
import { readFile, stat, truncate, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { compare } from "./compare.ts"
import { Killer } from "./killer.ts"
import { corrected, refusedBefore, writeCsv, writeJsonLines } from "./messages.ts"
import type { Stand } from "./stand.ts"

const MAIN = fileURLToPath(new URL("../../../src/cli/main.ts", import.meta.url))
/** The part of the messages that comes as JSON lines; the others come as CSV. */
const JSON_LINES = 0.7
/** The part of the compressed file that is there at first. */
const CUT_AT = 0.6
/** The part of the lines from which on the file is corrected between two runs; it was not read before. */
const MENDED_FROM = 0.8

export interface KillsOptions {
  folder: string
  messages: number
  kills: number
  /** Chooses the moments of the kills. */
  random: () => number
}

export interface Report {
  killed: Record<string, number>
  seconds: number
  /** MiB */
  peakMemory: number
  /** Rows that only the table or only the messages have. */
  differences: number
}

/**
 * Imports messages into a stand while importer, Worker and Postgres are killed in turn. A compressed file is
 * cut off at first; between two runs a person corrects the rest of it, and what has failed so far in the
 * failures file itself. Then comes a CSV. At the end a person corrects what was sent already, which must be
 * refused, and the failures. Then compares the table with the messages.
 */
export async function importUnderKills(stand: Stand, options: KillsOptions): Promise<Report> {
  const startedAt = performance.now()
  const { folder, messages } = options
  const middle = Math.floor(messages * JSON_LINES)
  const killer = new Killer(stand, options)
  const run = (args: string[], state: string, before: number) =>
    runToItsEnd(args, { folder, address: stand.address, state: join(folder, state), before, killer })

  const [lines, table] = [join(folder, "in.jsonl.gz"), join(folder, "in.csv")]
  await writeJsonLines(lines, { from: 0, end: middle })
  await truncate(lines, Math.floor((await stat(lines)).size * CUT_AT))
  await expectCode(3, run(["jsonl", lines], "jsonl.json", 0))
  const first = await importCorrected(folder, "jsonl", run, 0)
  await writeJsonLines(lines, { from: 0, end: middle, mendedFrom: Math.floor(middle * MENDED_FROM) })
  await expectCode(1, run(["jsonl", lines], "jsonl.json", 0))
  if ((await failuresOf(folder, "jsonl")) !== first) await importCorrected(folder, "jsonl", run, middle)

  await writeCsv(table, { from: middle, end: messages })
  const hasRefused = refusedBefore(messages) > refusedBefore(middle)
  await expectCode(hasRefused ? 1 : 0, run(["csv", table], "csv.json", middle))
  if (hasRefused) {
    await writeCsv(table, { from: middle, end: messages, mendedFrom: middle })
    await expectCode(2, run(["csv", table], "csv.json", middle))
    await importCorrected(folder, "csv", run, messages)
  }
  const seconds = (performance.now() - startedAt) / 1000
  const differences = await compare(stand, messages)
  console.log(`${refusedBefore(messages)} messages were refused, and corrected`)
  return { killed: killer.killed, peakMemory: killer.peakMemory, seconds, differences }
}

type Run = (args: string[], state: string, before: number) => Promise<{ code: number; said: string }>

/** The failures file of an import, as its state has it. */
async function failuresOf(folder: string, kind: string): Promise<string> {
  const state = JSON.parse(await readFile(join(folder, `${kind}.json`), "utf8"))
  return (state as { failures: { path: string } }).failures.path
}

/**
 * Corrects the failures file in place, as a person does, and imports it.
 *
 * @param before messages that were read before it
 * @returns its path
 */
async function importCorrected(folder: string, kind: string, run: Run, before: number): Promise<string> {
  const path = await failuresOf(folder, kind)
  const failures = await readFile(path, "utf8")
  await writeFile(path, `${failures.trimEnd().split("\n").map(corrected).join("\n")}\n`)
  await expectCode(0, run(["jsonl", path], `${path}.state`, before))
  return path
}

async function expectCode(code: number, running: ReturnType<Run>): Promise<void> {
  const ended = await running
  console.log(ended.said.trim())
  if (ended.code !== code) throw new Error(`the import ended with ${ended.code}, not with ${code}`)
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
    const code = await killer.watch(child, ended, async () => before + (await readOf(state)))
    if (code !== null) return { code, said }
  }
}

/** The records that an import has noted. */
async function readOf(state: string): Promise<number> {
  const text = await readFile(state, "utf8").catch(() => "{}")
  return (JSON.parse(text) as { read?: number }).read ?? 0
}

import { spawn } from "node:child_process"
import { once } from "node:events"
import { readdir, readFile } from "node:fs/promises"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { compare } from "./compare.ts"
import { Killer } from "./killer.ts"
import type { KillsOptions, Report } from "./kills.ts"
import type { Stand } from "./stand.ts"

const SENDER = fileURLToPath(new URL("spool-sender.ts", import.meta.url))

/**
 * Sends messages to a stand by a `BatchProcessor` with a spool while its process, the Worker and Postgres are
 * killed in turn, and compares the table with the messages.
 */
export async function sendUnderKills(stand: Stand, options: KillsOptions): Promise<Report> {
  const startedAt = performance.now()
  const { messages } = options
  const folder = join(options.folder, "spool")
  const killer = new Killer(stand, options)
  let accepted = 0
  for (let code: number | null = null; code === null; ) {
    accepted = Math.max(accepted, await acceptedOf(stand, folder))
    const command = [SENDER, stand.address, folder, String(accepted), String(messages)]
    const child = spawn(process.execPath, command, { stdio: ["ignore", "pipe", "inherit"] })
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      accepted = Number(text.trimEnd().split("\n").at(-1))
    })
    const ended = once(child, "close").then(([one]) => one as number | null)
    code = await killer.watch(child, ended, async () => accepted)
    if (code !== null && code !== 0) throw new Error(`the sender ended with ${code}`)
  }
  const left = (await readdir(folder)).filter((name) => name.endsWith(".spool"))
  if (left.length > 0) throw new Error(`the spool has kept ${left.join(", ")}`)
  const seconds = (performance.now() - startedAt) / 1000
  const differences = await compare(stand, messages)
  return { killed: killer.killed, peakMemory: killer.peakMemory, seconds, differences }
}

/**
 * How many messages a killed sender has accepted. It adds them in their order, so that those before one that
 * is stored, or in a whole line of the spool, are accepted as well.
 */
async function acceptedOf(stand: Stand, folder: string): Promise<number> {
  let last = -1
  for (const name of await readdir(folder).catch(() => [])) {
    if (!name.endsWith(".spool")) continue
    const text = await readFile(join(folder, name), "utf8")
    const whole = text.slice(0, text.lastIndexOf("\n") + 1)
    for (const [, index] of whole.matchAll(/"raw_content":"(\d+) /g)) last = Math.max(last, Number(index))
  }
  const client = await stand.connect()
  try {
    const { rows } = await client.query<{ last: number | null }>(
      "select max(split_part(raw_content, ' ', 1)::int4) as last from signals",
    )
    return Math.max(last, rows[0]?.last ?? -1) + 1
  } finally {
    await client.end()
  }
}

import { createInterface } from "node:readline/promises"
import { setTimeout as sleep } from "node:timers/promises"
import type { Erasure, NewErasure } from "../../client/index.ts"
import { EXIT, UsageError } from "../terminal/errors.ts"
import { openClient } from "../terminal/options.ts"

export interface EraseOptions {
  url: string
  user?: string | undefined
  agent?: string | undefined
  conversation?: string | undefined
  signal?: readonly number[] | undefined
  suppress?: true | undefined
  yes?: true | undefined
  quiet?: true | undefined
}

/** The pause between requests for the state. Each request also makes the service continue. */
const POLL_EVERY_MS = 1000

/**
 * Starts an erasure, and prints the counts of removed records until it is done. The service finishes the
 * erasure even when this command is stopped.
 *
 * @throws {UsageError} no subject is given, or nobody can be asked; nothing was erased
 */
export async function erase(options: EraseOptions, stop: AbortSignal): Promise<number> {
  const erasure = erasureOf(options)
  if (!options.yes && !(await isConfirmed(erasure, stop))) {
    console.error("Nothing was erased.")
    return EXIT.stopped
  }
  const client = openClient(options)
  try {
    let state = await client.erase(erasure, { signal: stop })
    console.log(`Erasure ${state.id} of ${state.kind}, ${state.suppress ? "with" : "without"} suppression`)
    while (state.state === "running") {
      if (!options.quiet && process.stderr.isTTY) process.stderr.write(`\r${countsOf(state)} so far`)
      await sleep(POLL_EVERY_MS, undefined, { signal: stop })
      state = (await client.erasure(state.id, { signal: stop })) ?? state
    }
    if (!options.quiet && process.stderr.isTTY) process.stderr.write("\n")
    console.log(`Done: ${countsOf(state)}`)
    return EXIT.done
  } catch (error) {
    if (!stop.aborted) throw error
    console.error("Stopped. The service finishes an erasure that it has begun.")
    return EXIT.stopped
  }
}

function erasureOf({ user, agent, conversation, signal, suppress }: EraseOptions): NewErasure {
  const rest = { suppress: suppress ?? false }
  if (user !== undefined) return { user_id: user, ...rest }
  if (agent !== undefined) return { agent_id: agent, ...rest }
  if (conversation !== undefined) return { context_window_id: conversation, ...rest }
  if (signal !== undefined) return { signal_ids: signal, ...rest }
  throw new UsageError("Nothing to erase. Give --user, --agent, --conversation or --signal.")
}

async function isConfirmed({ suppress, ...target }: NewErasure, stop: AbortSignal): Promise<boolean> {
  if (!process.stdin.isTTY)
    throw new UsageError("There is no terminal to ask for confirmation. Add --yes to erase.")
  const [kind, subject] = Object.entries(target)[0] ?? []
  const what = Array.isArray(subject)
    ? `${subject.length} signals`
    : `every signal with the ${kind} "${subject}"`
  const later = suppress ? ", and refuse later ones" : ""
  const terminal = createInterface({ input: process.stdin, output: process.stderr })
  try {
    const answer = await terminal.question(`Erase ${what} permanently${later}? Type "erase" to continue: `, {
      signal: stop,
    })
    return answer.trim() === "erase"
  } catch (error) {
    if (stop.aborted) return false
    throw error
  } finally {
    terminal.close()
  }
}

function countsOf({ erased }: Erasure): string {
  const { signals, dead_letters, ledger_texts, waiting_records } = erased
  return `${signals} signals, ${dead_letters} dead letters, ${ledger_texts} texts of the ledger, ${waiting_records} waiting records`
}

import type { ListedDeadLetter, SignalClient } from "../../client/index.ts"
import { parseJson } from "../../signals/json.ts"
import { jsonLine } from "../../signals/lines.ts"
import { EXIT, GaveUpError } from "../terminal/errors.ts"
import { openClient } from "../terminal/options.ts"
import { printLine } from "../terminal/output.ts"

export interface DlqOptions {
  url: string
  /** Seconds. */
  deadline: number
  json?: true | undefined
  stop: AbortSignal
}

export type DlqState = "waiting" | "replayed" | "discarded"

// Numbers of a record keep every digit.
const open = (options: DlqOptions) => openClient({ ...options, parse: parseJson })

export async function list(state: DlqState, options: DlqOptions): Promise<number> {
  let count = 0
  for await (const deadLetter of open(options).listDeadLetters({ state }, { signal: options.stop })) {
    count++
    await printLine(options.json ? jsonLine(deadLetter) : lineOf(deadLetter))
  }
  if (!options.json) await printLine(`${count} ${state}.`)
  return EXIT.done
}

const lineOf = ({ id, created_at, source, code, reason }: ListedDeadLetter) =>
  `${String(id).padStart(6)}  ${created_at.slice(0, 19)}Z  ${source.padEnd(6)}  ${code.padEnd(19)}  ${reason}`

export async function show(id: number, options: DlqOptions): Promise<number> {
  const deadLetter = await open(options).deadLetter(id, { signal: options.stop })
  if (deadLetter === undefined)
    throw new GaveUpError(`No dead letter has the id ${id}. "signals dlq list" prints the ids.`)
  if (options.json) await printLine(jsonLine(deadLetter))
  else
    for (const [name, value] of Object.entries(deadLetter))
      await printLine(`${name.padEnd(22)}${textOf(value)}`)
  return EXIT.done
}

const textOf = (value: unknown) =>
  typeof value === "object" && value !== null ? JSON.stringify(value) : String(value)

export async function replay(ids: readonly number[], options: DlqOptions): Promise<number> {
  const client = open(options)
  let remaining = 0
  for (const id of ids) {
    const answer = await client.replayDeadLetter(id, { signal: options.stop })
    if (!answer.replayed) remaining++
    printReplayed({ ...answer, id }, options)
  }
  return endReplay(ids.length, remaining, options)
}

/** The most ids of one request. */
const MAX_IDS = 500

/**
 * Replays every waiting dead letter, oldest first, many in a request. All ids are read before the first
 * record changes.
 */
export async function replayAll(options: DlqOptions): Promise<number> {
  const client = open(options)
  const waiting: Pick<ListedDeadLetter, "id" | "source" | "replay_transaction_id">[] = []
  for await (const deadLetter of client.listDeadLetters({ state: "waiting" }, { signal: options.stop }))
    waiting.unshift(deadLetter)
  let remaining = 0
  for (let start = 0; start < waiting.length; start += MAX_IDS) {
    const chunk = waiting.slice(start, start + MAX_IDS)
    const reasons = await replayTogether(
      client,
      chunk.map(({ id }) => id),
      options.stop,
    )
    for (const { id, source, replay_transaction_id } of chunk) {
      const reason = reasons.get(id)
      const transaction_id = reason === undefined && source !== "queue" ? replay_transaction_id : undefined
      printReplayed({ id, replayed: reason === undefined, reason, transaction_id }, options)
    }
    remaining += reasons.size
  }
  return endReplay(waiting.length, remaining, options)
}

/** @returns the reasons of those that were not replayed, by id */
async function replayTogether(
  client: SignalClient,
  ids: number[],
  stop: AbortSignal,
): Promise<Map<number, string>> {
  const reasons = new Map<number, string>()
  let cursor: string | null | undefined
  do {
    const answer = await client.replayDeadLetters({ ids, cursor }, { signal: stop })
    for (const { id, reason } of answer.failures) reasons.set(id, reason)
    cursor = answer.next_cursor
  } while (cursor !== null)
  return reasons
}

interface Replayed {
  id: number
  replayed: boolean
  reason?: string | undefined
  transaction_id?: string | undefined
}

// A reader of the output that leaves must not end a replay: so these lines are not awaited.
function printReplayed({ id, replayed, reason, transaction_id }: Replayed, { json }: DlqOptions): void {
  if (json) console.log(jsonLine({ id, replayed, reason, transaction_id }))
  else if (!replayed) console.log(`${id}: not replayed. ${reason}`)
  else console.log(`${id}: replayed${transaction_id ? ` as ${transaction_id}` : " into the queue"}`)
}

function endReplay(count: number, remaining: number, { json }: DlqOptions): number {
  if (!json) console.log(`${count - remaining} replayed, ${remaining} not.`)
  return remaining > 0 ? EXIT.someFailed : EXIT.done
}

export async function discard(ids: readonly number[], options: DlqOptions): Promise<number> {
  const client = open(options)
  for (const id of ids) {
    const deadLetter = await client.discardDeadLetter(id, { signal: options.stop })
    console.log(options.json ? jsonLine(deadLetter) : `${id}: discarded`)
  }
  return EXIT.done
}

import { SignalClient, SignalError } from "../../client/index.ts"
import { EXIT, reasonOf } from "../usage.ts"

export interface DlqOptions {
  url: string
  json?: true | undefined
  stop: AbortSignal
}

interface DeadLetter {
  id: number
  created_at: string
  source: string
  code: string
  reason: string
  replay_transaction_id: string
}

/** The service does not answer, or refuses. The message is for the user at the terminal. */
class Failure extends Error {}

async function ask<Answer>({ url, stop }: DlqOptions, method: string, path: string): Promise<Answer> {
  const key = process.env.SIGNAL_INGEST_KEY
  const headers: Record<string, string> = key ? { Authorization: `Bearer ${key}` } : {}
  const response = await fetch(new URL(`/api/dead-letters${path}`, url), {
    method,
    headers,
    signal: stop,
  }).catch(() => {
    throw new Failure(`${url} cannot be reached. Start the service, or name another with --url.`)
  })
  const answer = await response.json().catch(() => ({}))
  if (response.ok) return answer as Answer
  const { detail } = answer as { detail?: unknown }
  const text = typeof detail === "string" ? detail : JSON.stringify(detail ?? "")
  const wayOut = response.status === 401 ? " Put it into SIGNAL_INGEST_KEY." : ""
  const requestId = response.headers.get("X-Request-Id")
  throw new Failure(
    `${response.status}: ${text}${wayOut}${requestId === null ? "" : ` (request ${requestId})`}`,
  )
}

/** Runs `work`. If the service does not answer, or refuses, prints one sentence and returns exit code 3. */
async function reporting(work: () => Promise<number>): Promise<number> {
  try {
    return await work()
  } catch (error) {
    if (!(error instanceof Failure || error instanceof SignalError)) throw error
    console.error(reasonOf(error))
    return EXIT.gaveUp
  }
}

async function* deadLetters(state: string, options: DlqOptions): AsyncGenerator<DeadLetter> {
  let cursor: string | null = null
  do {
    const query = new URLSearchParams({ state, limit: "200", ...(cursor !== null && { cursor }) })
    const page: { dead_letters: DeadLetter[]; next_cursor: string | null } = await ask(
      options,
      "GET",
      `?${query}`,
    )
    yield* page.dead_letters
    cursor = page.next_cursor
  } while (cursor !== null)
}

export const list = (state: string, options: DlqOptions) =>
  reporting(async () => {
    let count = 0
    for await (const letter of deadLetters(state, options)) {
      count++
      const { id, created_at, source, code, reason } = letter
      console.log(
        options.json
          ? JSON.stringify(letter)
          : `${String(id).padStart(6)}  ${created_at.slice(0, 19)}Z  ${source.padEnd(6)}  ${code.padEnd(19)}  ${reason}`,
      )
    }
    if (!options.json) console.log(`${count} ${state}.`)
    return EXIT.done
  })

export const show = (id: number, options: DlqOptions) =>
  reporting(async () => {
    const letter = await ask<DeadLetter>(options, "GET", `/${id}`)
    if (options.json) console.log(JSON.stringify(letter))
    else for (const [name, value] of Object.entries(letter)) console.log(`${name.padEnd(22)}${value}`)
    return EXIT.done
  })

export const replay = (ids: readonly number[], options: DlqOptions) =>
  reporting(async () => {
    let remaining = 0
    for (const id of ids) {
      const answer = await ask<Omit<Replayed, "id">>(options, "POST", `/${id}/replay`)
      if (!answer.replayed) remaining++
      printReplayed({ ...answer, id }, options)
    }
    return endReplay(ids.length, remaining, options)
  })

/**
 * Replays every waiting dead letter, oldest first, many in a request. All ids are read before the first
 * record changes.
 */
export const replayAll = (options: DlqOptions) =>
  reporting(async () => {
    const letters: Pick<DeadLetter, "id" | "source" | "replay_transaction_id">[] = []
    for await (const { id, source, replay_transaction_id } of deadLetters("waiting", options))
      letters.unshift({ id, source, replay_transaction_id })
    const client = new SignalClient({ url: options.url, key: process.env.SIGNAL_INGEST_KEY })
    let remaining = 0
    for (let start = 0; start < letters.length; start += MAX_IDS) {
      const part = letters.slice(start, start + MAX_IDS)
      const reasons = await replayTogether(
        client,
        part.map(({ id }) => id),
        options.stop,
      )
      for (const { id, source, replay_transaction_id } of part) {
        const reason = reasons.get(id)
        const transaction_id = reason === undefined && source !== "queue" ? replay_transaction_id : undefined
        printReplayed({ id, replayed: reason === undefined, reason, transaction_id }, options)
      }
      remaining += reasons.size
    }
    return endReplay(letters.length, remaining, options)
  })

/** The most ids of one request. */
const MAX_IDS = 500

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

function printReplayed({ id, replayed, reason, transaction_id }: Replayed, { json }: DlqOptions): void {
  if (json) console.log(JSON.stringify({ id, replayed, reason, transaction_id }))
  else if (!replayed) console.log(`${id}: not replayed. ${reason}`)
  else console.log(`${id}: replayed${transaction_id ? ` as ${transaction_id}` : " into the queue"}`)
}

function endReplay(count: number, remaining: number, { json }: DlqOptions): number {
  if (!json) console.log(`${count - remaining} replayed, ${remaining} not.`)
  return remaining > 0 ? EXIT.someFailed : EXIT.done
}

export const discard = (ids: readonly number[], options: DlqOptions) =>
  reporting(async () => {
    for (const id of ids) {
      const letter = await ask<DeadLetter>(options, "DELETE", `/${id}`)
      console.log(options.json ? JSON.stringify(letter) : `${id}: discarded`)
    }
    return EXIT.done
  })

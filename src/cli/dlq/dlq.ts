import { parseArgs } from "node:util"

const HELP = `npm run dlq -- COMMAND [options]

  list               what could not be stored and waits, newest first
  show ID            one of them whole, with what was delivered
  replay ID... | --all   read again, as the service does today, and store
  discard ID...      not to be stored: it is kept, and listed no more

  --state STATE      list those that are waiting (default), replayed or discarded
  --json             one line of JSON each, for scripts
  --url URL          the service, default SIGNAL_INGEST_URL or http://localhost:8002

The API key, with the scopes read and ingest, is taken from SIGNAL_INGEST_KEY.
Ends with 0 when all went well, 1 when something could not be replayed, 2 when it could not be tried.

  npm run dlq -- list
  npm run dlq -- replay 12 13
  SIGNAL_INGEST_KEY=... npm run dlq -- replay --all --url https://signals.example.com`

interface Letter {
  id: number
  created_at: string
  source: string
  caller: string
  reason: string
  record: string
  transaction_id: string
  index: number
}

/** It could not be tried. The message is for the person at the terminal. */
class Failure extends Error {}

const { values: options, positionals } = readArguments()

function readArguments() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        all: { type: "boolean", default: false },
        json: { type: "boolean", default: false },
        state: { type: "string", default: "waiting" },
        url: { type: "string", default: process.env.SIGNAL_INGEST_URL || "http://localhost:8002" },
        help: { type: "boolean", default: false },
      },
    })
  } catch (error) {
    console.error(`${(error as Error).message.split(". ")[0]}.\n\n${HELP}`)
    process.exit(2)
  }
}

async function ask<Answer>(method: string, path: string): Promise<Answer> {
  const key = process.env.SIGNAL_INGEST_KEY
  const headers: Record<string, string> = key ? { Authorization: `Bearer ${key}` } : {}
  const url = URL.parse(`/api/dead-letters${path}`, options.url)
  if (!url) throw new Failure(`${options.url} is no address, such as https://signals.example.com.`)
  const response = await fetch(url, { method, headers }).catch(() => {
    throw new Failure(`${options.url} can't be reached. Is the service running? --url names another.`)
  })
  const answer = await response.json().catch(() => ({}))
  if (response.ok) return answer as Answer
  const { detail } = answer as { detail?: unknown }
  const told = typeof detail === "string" ? detail : JSON.stringify(detail ?? "")
  throw new Failure(`${response.status}: ${told}${response.status === 401 ? " Put it into SIGNAL_INGEST_KEY." : ""}`)
}

async function* letters(state: string): AsyncGenerator<Letter> {
  let cursor: string | null = null
  do {
    const query = new URLSearchParams({ state, limit: "200", ...(cursor !== null && { cursor }) })
    const page: { dead_letters: Letter[]; next_cursor: string | null } = await ask("GET", `?${query}`)
    yield* page.dead_letters
    cursor = page.next_cursor
  } while (cursor !== null)
}

async function list(): Promise<number> {
  let count = 0
  for await (const letter of letters(options.state)) {
    count++
    if (options.json) console.log(JSON.stringify(letter))
    else
      console.log(
        `${String(letter.id).padStart(6)}  ${letter.created_at.slice(0, 19)}Z  ${letter.source.padEnd(6)}  ${letter.reason}`,
      )
  }
  if (!options.json) console.log(count === 0 ? `Nothing is ${options.state}.` : `${count} ${options.state}.`)
  return 0
}

async function show([id]: number[]): Promise<number> {
  if (id === undefined) throw new Failure("Which? Give an id, as list tells them.")
  const letter = await ask<Letter>("GET", `/${id}`)
  if (options.json) console.log(JSON.stringify(letter))
  else for (const [name, value] of Object.entries(letter)) console.log(`${name.padEnd(22)}${value}`)
  return 0
}

async function replay(ids: number[]): Promise<number> {
  const chosen = options.all ? [] : ids
  // From the oldest on, and all of them known before the first is changed.
  if (options.all) for await (const { id } of letters("waiting")) chosen.unshift(id)
  else if (ids.length === 0) throw new Failure("Which? Give ids, as list tells them, or --all.")
  let left = 0
  for (const id of chosen) {
    const { replayed, reason, transaction_id } = await ask<{ replayed: boolean; reason?: string; transaction_id?: string }>(
      "POST",
      `/${id}/replay`,
    )
    if (!replayed) left++
    if (options.json) console.log(JSON.stringify({ id, replayed, reason, transaction_id }))
    else
      console.log(
        replayed ? `${id}: replayed${transaction_id ? ` as ${transaction_id}` : " into the queue"}` : `${id}: stays. ${reason}`,
      )
  }
  if (!options.json) console.log(`${chosen.length - left} replayed, ${left} stay.`)
  return left > 0 ? 1 : 0
}

async function discard(ids: number[]): Promise<number> {
  if (ids.length === 0) throw new Failure("Which? Give ids, as list tells them.")
  for (const id of ids) {
    await ask("DELETE", `/${id}`)
    if (!options.json) console.log(`${id}: discarded`)
  }
  return 0
}

const COMMANDS: Record<string, (ids: number[]) => Promise<number>> = { list, show, replay, discard }

async function main(): Promise<number> {
  const [name = "", ...rest] = positionals
  if (options.help || name === "") {
    console.log(HELP)
    return options.help ? 0 : 2
  }
  const command = COMMANDS[name]
  try {
    if (!command) throw new Failure(`${name} is no command. See npm run dlq -- --help.`)
    const wrong = rest.find((text) => !/^\d{1,15}$/.test(text))
    if (wrong !== undefined) throw new Failure(`${wrong} is no id.`)
    return await command(rest.map(Number))
  } catch (error) {
    if (!(error instanceof Failure)) throw error
    console.error(error.message)
    return 2
  }
}

process.exitCode = await main()

import type { ApiKeyLimits, ApiKeyRecord, KeyRotation, MadeApiKey, NewApiKey } from "../../client/index.ts"
import { jsonLine } from "../../signals/lines.ts"
import { EXIT } from "../terminal/errors.ts"
import { openClient } from "../terminal/options.ts"
import { printLine, printOnce, say } from "../terminal/output.ts"

export interface KeysOptions {
  url: string
  /** Seconds. */
  deadline: number
  json?: true | undefined
  stop: AbortSignal
}

/** Prints the keys, newest first. @param all also those that have ended */
export async function list(all: boolean, options: KeysOptions): Promise<number> {
  let count = 0
  for await (const key of openClient(options).keys.list({ signal: options.stop })) {
    if (!all && key.state !== "active") continue
    count++
    await printLine(options.json ? jsonLine(key) : lineOf(key))
  }
  if (!options.json) await printLine(`${count} ${count === 1 ? "key" : "keys"}.`)
  return EXIT.done
}

const lineOf = ({ id, name, state, scopes, hint, last_used_on, expires_at }: ApiKeyRecord) =>
  [
    id,
    name.padEnd(20),
    state.padEnd(7),
    scopes.join(",").padEnd(24),
    `${hint}…`,
    last_used_on === null ? "never used" : `used ${last_used_on}`,
    expires_at === null ? "" : `ends ${expires_at.slice(0, 16)}Z`,
  ]
    .join("  ")
    .trimEnd()

export async function add(key: NewApiKey, options: KeysOptions): Promise<number> {
  return await printMade(await openClient(options).keys.add(key, { signal: options.stop }), options)
}

export async function rotate(id: string, rotation: KeyRotation, options: KeysOptions): Promise<number> {
  const made = await openClient(options).keys.rotate(id, rotation, { signal: options.stop })
  const code = await printMade(made, options)
  if (code === EXIT.done && !options.json && rotation.former_expires_at === undefined)
    console.log(`The first key stays valid. When nobody uses it:  signals keys revoke ${id}`)
  return code
}

/** @returns the exit code: a key that could not be shown helps nobody */
async function printMade(made: MadeApiKey, { json }: KeysOptions): Promise<number> {
  const text = json ? jsonLine(made) : `Key of ${made.name}, shown only now:  ${made.key}\nId:  ${made.id}`
  if (await printOnce(text)) return EXIT.done
  say(
    `The key was made and could not be shown. End it with "signals keys revoke ${made.id}", and make another.`,
  )
  return EXIT.gaveUp
}

export async function limit(id: string, limits: ApiKeyLimits, options: KeysOptions): Promise<number> {
  const key = await openClient(options).keys.limit(id, limits, { signal: options.stop })
  const { signals_per_day, bytes_per_day } = key.limits
  const limitOf = (most: number | null, what: string) =>
    most === null ? `any number of ${what}` : `${most} ${what}`
  if (options.json) console.log(jsonLine(key))
  else
    console.log(
      `${key.name} may send ${limitOf(signals_per_day, "signals")} and ${limitOf(bytes_per_day, "bytes")} a day.`,
    )
  return EXIT.done
}

/** Prints what the caller of a key sent on each of the last days, the newest first. */
export async function usage(id: string, days: number, options: KeysOptions): Promise<number> {
  for (const day of await openClient(options).keys.usage(id, days, { signal: options.stop }))
    await printLine(
      options.json
        ? jsonLine(day)
        : `${day.day}  ${day.batches} batches  ${day.signals} signals  ${day.failed_signals} failed`,
    )
  return EXIT.done
}

export async function revoke(id: string, options: KeysOptions): Promise<number> {
  const key = await openClient(options).keys.revoke(id, { signal: options.stop })
  console.log(
    options.json ? jsonLine(key) : `${key.name}: revoked. The service refuses it within 60 seconds.`,
  )
  return EXIT.done
}

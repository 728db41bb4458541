import type { Subscription, SubscriptionOptions } from "../../client/index.ts"
import { jsonLine } from "../../signals/lines.ts"
import { EXIT, UsageError } from "../terminal/errors.ts"
import { openClient } from "../terminal/options.ts"
import { printLine, printOnce, say } from "../terminal/output.ts"

export interface SubscriptionsOptions {
  url: string
  /** Seconds. */
  deadline: number
  json?: true | undefined
  stop: AbortSignal
}

const clientOf = (options: SubscriptionsOptions) => openClient(options).subscriptions

/** The subscription of this name or id. */
async function named(name: string, options: SubscriptionsOptions): Promise<Subscription> {
  const all = await clientOf(options).list({ signal: options.stop })
  const found = all.find((one) => one.name === name) ?? all.find((one) => one.id === name)
  if (!found)
    throw new UsageError(
      `No subscription is named "${name}". Run "signals subscriptions list" for their names.`,
    )
  return found
}

/** Prints the subscriptions, by name. */
export async function list(options: SubscriptionsOptions): Promise<number> {
  const all = await clientOf(options).list({ signal: options.stop })
  for (const one of all) await printLine(options.json ? jsonLine(one) : lineOf(one))
  if (!options.json) await printLine(`${all.length} ${all.length === 1 ? "subscription" : "subscriptions"}.`)
  return EXIT.done
}

function lineOf({ name, state, lag_seconds, delivered_signals, last_answers, url }: Subscription): string {
  const [last] = last_answers
  const answer = last
    ? `last answer ${last.error ?? last.status} at ${last.at.slice(0, 19)}Z`
    : "not called yet"
  const delivered = `${delivered_signals} delivered`
  return [name.padEnd(20), state.padEnd(8), `lag ${Math.round(lag_seconds)} s`, delivered, answer, url ?? ""]
    .join("  ")
    .trimEnd()
}

export async function add(subscription: SubscriptionOptions, options: SubscriptionsOptions): Promise<number> {
  const made = await clientOf(options).add(subscription, { signal: options.stop })
  return await printSecret(
    options.json
      ? jsonLine(made)
      : `Secret of ${made.name}, shown only now:  ${made.secret}\nId:  ${made.id}`,
    made.name,
  )
}

/** @returns the exit code: a secret that could not be shown helps nobody */
async function printSecret(text: string, name: string): Promise<number> {
  if (await printOnce(text)) return EXIT.done
  say(`The secret is made and could not be shown. Make another with "signals subscriptions secret ${name}".`)
  return EXIT.gaveUp
}

/** Sends a test call. The exit code says whether it was accepted. */
export async function test(name: string, options: SubscriptionsOptions): Promise<number> {
  const { id } = await named(name, options)
  const attempt = await clientOf(options).test(id, { signal: options.stop })
  if (options.json) console.log(jsonLine(attempt))
  else
    console.log(
      `${name}: ${attempt.error ?? `accepted with HTTP ${attempt.status}`}, after ${attempt.ms} ms.`,
    )
  return attempt.error === null ? EXIT.done : EXIT.someFailed
}

export async function setState(
  name: string,
  state: "active" | "paused",
  options: SubscriptionsOptions,
): Promise<number> {
  const { id } = await named(name, options)
  print(
    await clientOf(options).change(id, { state }, { signal: options.stop }),
    `${name}: ${state}.`,
    options,
  )
  return EXIT.done
}

export async function resend(name: string, since: string, options: SubscriptionsOptions): Promise<number> {
  const { id } = await named(name, options)
  const moved = await clientOf(options).resend(id, since, { signal: options.stop })
  print(moved, `${name}: sends again what was stored since ${since}.`, options)
  return EXIT.done
}

export async function replaceSecret(name: string, options: SubscriptionsOptions): Promise<number> {
  const { id } = await named(name, options)
  const made = await clientOf(options).replaceSecret(id, { signal: options.stop })
  const until = made.previous_secret_until?.slice(0, 19)
  return await printSecret(
    options.json
      ? jsonLine(made)
      : `Secret of ${name}, shown only now:  ${made.secret}\nThe former one signs calls, too, until ${until}Z.`,
    name,
  )
}

export async function remove(name: string, options: SubscriptionsOptions): Promise<number> {
  const { id } = await named(name, options)
  print(await clientOf(options).remove(id, { signal: options.stop }), `${name}: deleted.`, options)
  return EXIT.done
}

const print = (subscription: Subscription, sentence: string, { json }: SubscriptionsOptions) =>
  console.log(json ? jsonLine(subscription) : sentence)

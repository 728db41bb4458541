import { createHash, randomBytes } from "node:crypto"
import { Argument, Command, InvalidArgumentError, Option } from "@commander-js/extra-typings"
import { ANONYMOUS_NAME, apiKeyOf, KEY_NAME, RANDOM_BYTES } from "../../keys/form.ts"
import { SCOPES } from "../../signals/rules.ts"
import { deadlineOption, type Invocation, KEY_HELP, urlOption, wholeNumber } from "../terminal/options.ts"
import type { KeysOptions } from "./keys.ts"

function readName(text: string): string {
  if (!KEY_NAME.test(text)) throw new InvalidArgumentError("It must have 1 to 100 letters, digits or . _ @ -")
  // The service uses this name for callers without a key.
  if (text === ANONYMOUS_NAME) throw new InvalidArgumentError('It must not be "anonymous".')
  return text
}

/** The longest time that an option names. */
const MAX_DAYS = 36_500
const DAY_MS = 24 * 60 * 60 * 1000

/** A time as ISO 8601, from a date, a time or a number of days. */
function readTime(text: string): string {
  const days = /^(\d{1,5})d$/.exec(text)?.[1]
  if (days !== undefined && Number(days) >= 1 && Number(days) <= MAX_DAYS)
    return new Date(Date.now() + Number(days) * DAY_MS).toISOString()
  const time = /^\d{4}-\d\d-\d\d(T[\d:.]+Z)?$/.test(text) ? new Date(text) : undefined
  if (time === undefined || Number.isNaN(time.getTime()))
    throw new InvalidArgumentError(
      "It must be days such as 90d, a date such as 2027-01-31, or a time in UTC.",
    )
  return time.toISOString()
}

function readId(text: string): string {
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text))
    throw new InvalidArgumentError('It must be an id, as "signals keys list" prints it.')
  return text
}

const scopes = () => new Argument("<scope...>", "what the key may do").choices(SCOPES)
const name = () => new Argument("<name>", "the caller, in logs and in the ledger").argParser(readName)
const id = () => new Argument("<id>", "id of a key").argParser(readId)
const amount = wholeNumber(1, Number.MAX_SAFE_INTEGER)
const jsonOption = () => new Option("--json", "print each key as one line of JSON, for scripts")
const expiresOption = () =>
  new Option("--expires <when>", "when the key ends: days (90d), a date or a time").argParser(readTime)

const NEEDS = `\n${KEY_HELP} It needs the scope "admin".`

/** `signals key`: makes an API key, and its entry for API_KEYS, which holds only the key's SHA-256. */
export function keyCommand(invocation: Invocation) {
  return new Command("key")
    .description("Makes a root key, and its entry for API_KEYS. It calls no service.")
    .addArgument(name())
    .addArgument(scopes())
    .action((name, scopes) => {
      invocation.printsResult = true
      const key = apiKeyOf(randomBytes(RANDOM_BYTES))
      const entry = {
        name,
        sha256: createHash("sha256").update(key).digest("hex"),
        scopes: [...new Set(scopes)],
      }
      console.log(`Key, shown only now:  ${key}\nEntry for API_KEYS:   ${JSON.stringify(entry)}`)
    })
}

/** `signals keys`: lists, makes, limits, rotates and revokes the keys of a running service. */
export function keysCommand(invocation: Invocation) {
  const keys = new Command("keys").description(
    "Lists, makes, limits, rotates and revokes API keys while the service runs.",
  )
  addReads(keys, invocation)
  addChanges(keys, invocation)
  return keys
}

/** A command with the options of all of them. */
const oneOf = (command: string, example = "") =>
  new Command(command)
    .addOption(jsonOption())
    .addOption(urlOption())
    .addOption(deadlineOption("how long to retry one request"))
    .addHelpText("after", NEEDS + example)

const load = () => import("./keys.ts")

const wherePrinted =
  (invocation: Invocation) =>
  (options: Omit<KeysOptions, "stop">): KeysOptions => ({ ...options, stop: invocation.stop })

function addReads(keys: Command, invocation: Invocation): void {
  const called = wherePrinted(invocation)
  keys.addCommand(
    oneOf("list")
      .description("list the keys that are valid, newest first")
      .option("--all", "also those that have ended")
      .action(async ({ all, ...options }) => {
        invocation.printsResult = true
        invocation.exitCode = await (await load()).list(all ?? false, called(options))
      }),
  )
  keys.addCommand(
    oneOf("usage")
      .description("print what the caller of a key sent by day (UTC), from the ledger")
      .addArgument(id())
      .addOption(new Option("--days <n>", "days, today included").default(7).argParser(wholeNumber(1, 31)))
      .action(async (id, { days, ...options }) => {
        invocation.printsResult = true
        invocation.exitCode = await (await load()).usage(id, days, called(options))
      }),
  )
}

function addChanges(keys: Command, invocation: Invocation): void {
  const called = wherePrinted(invocation)
  keys.addCommand(
    oneOf("add", "\n\n  signals keys add importer ingest bridge --expires 90d")
      .description("make a key; it is printed once")
      .addArgument(name())
      .addArgument(scopes())
      .addOption(expiresOption())
      .action(async (name, scopes, { expires, ...options }) => {
        const { add } = await load()
        invocation.exitCode = await add({ name, scopes, expires_at: expires }, called(options))
      }),
  )
  keys.addCommand(
    oneOf("rotate")
      .description("make a second key for the same caller; the first one stays valid until it is revoked")
      .addArgument(id())
      .addOption(expiresOption())
      .addOption(
        new Option("--end-former <when>", "end the first key then: days, a date or a time").argParser(
          readTime,
        ),
      )
      .action(async (id, { expires, endFormer, ...options }) => {
        const { rotate } = await load()
        const rotation = { expires_at: expires, former_expires_at: endFormer }
        invocation.exitCode = await rotate(id, rotation, called(options))
      }),
  )
  keys.addCommand(
    oneOf("limit")
      .description(
        "set what the caller of a key may send in a day (UTC), about; a limit not given is removed",
      )
      .addArgument(id())
      .addOption(new Option("--signals <n>", "signals a day").argParser(amount))
      .addOption(new Option("--bytes <n>", "bytes a day, decoded").argParser(amount))
      .action(async (id, { signals, bytes, ...options }) => {
        const { limit } = await load()
        const limits = { signals_per_day: signals, bytes_per_day: bytes }
        invocation.exitCode = await limit(id, limits, called(options))
      }),
  )
  keys.addCommand(
    oneOf("revoke")
      .description("end a key: the service refuses it within 60 seconds")
      .addArgument(id())
      .action(async (id, options) => {
        invocation.exitCode = await (await load()).revoke(id, called(options))
      }),
  )
}

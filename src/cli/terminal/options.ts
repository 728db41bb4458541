import { InvalidArgumentError, Option } from "@commander-js/extra-typings"
import { SignalClient } from "../../client/index.ts"
import { UsageError } from "./errors.ts"

/** Shared by the command line and the command that it runs. */
export interface Invocation {
  /** Aborts when the user stops the command: it finishes what is in flight, and starts nothing else. */
  stop: AbortSignal
  /** Aborts some seconds after `stop`: what is in flight is given up. */
  end: AbortSignal
  /** Set by the command that ran. */
  exitCode: number
  /** What the command prints is its result: it is done when the reader of its output has left. */
  printsResult: boolean
}

export const wholeNumber = (least: number, most: number) => (text: string) => {
  const number = Number(text)
  if (!Number.isInteger(number) || number < least || number > most)
    throw new InvalidArgumentError(`It must be a whole number from ${least} to ${most}.`)
  return number
}

function readAddress(text: string): string {
  const url = URL.parse(text)
  if (!url || !/^https?:$/.test(url.protocol) || url.hostname === "")
    throw new InvalidArgumentError("It must be an address, such as https://signals.example.com.")
  if (url.username !== "" || url.password !== "")
    throw new InvalidArgumentError("It must not hold a login: put an API key into SIGNAL_INGEST_KEY.")
  if (url.search !== "" || url.hash !== "")
    throw new InvalidArgumentError("It must end before a ? or #, such as https://signals.example.com.")
  return text
}

// These options are shared by several commands. `default` comes before `argParser`, whose type is then the
// type of the option.
export const urlOption = () =>
  new Option("--url <url>", "address of the service")
    .env("SIGNAL_INGEST_URL")
    .default("http://localhost:8002")
    .argParser(readAddress)

export const batchSizeOption = () =>
  new Option("--batch-size <n>", "signals in a batch").default(500).argParser(wholeNumber(1, 10_000))

export const concurrencyOption = () =>
  new Option("--concurrency <n>", "most batches in flight; fewer while the service is overloaded")
    .default(4)
    .argParser(wholeNumber(1, 100))

export const deadlineOption = (description = "how long to retry one batch") =>
  new Option("--deadline <seconds>", description).default(300).argParser(wholeNumber(1, 86_400))

export const quietOption = () => new Option("--quiet", "print no progress")

/** Adds one `a=b` pair of a repeated option to the pairs before it. */
export function collectPairs(
  text: string,
  before: Record<string, string> | undefined,
): Record<string, string> {
  const at = text.indexOf("=")
  if (at < 1 || at === text.length - 1) throw new InvalidArgumentError("It must be COLUMN=FIELD.")
  return { ...before, [text.slice(0, at)]: text.slice(at + 1) }
}

export const KEY_HELP = "The API key is read from SIGNAL_INGEST_KEY."

/** The API key of the environment. @throws {UsageError} no key has such characters; it is not printed */
export function apiKey(): string | undefined {
  const key = process.env.SIGNAL_INGEST_KEY
  if (!key) return undefined
  if (!/^[\x21-\x7e]+$/.test(key))
    throw new UsageError(
      "SIGNAL_INGEST_KEY holds a space, a line break or a character beyond ASCII, which no API key has. Set it again.",
    )
  return key
}

/** Returns a client of the service, with the API key of the environment. */
export function openClient(options: {
  url: string
  /** Seconds. */
  deadline?: number | undefined
  parse?: ((text: string) => unknown) | undefined
}): SignalClient {
  const { url, deadline, parse } = options
  const key = apiKey()
  return new SignalClient({
    url,
    ...(key && { key }),
    ...(deadline !== undefined && { deadlineMs: deadline * 1000 }),
    parse,
  })
}

import { InvalidArgumentError, Option } from "@commander-js/extra-typings"
import { SignalClient } from "../client/index.ts"

/** Shared by the command line and the command that it runs. */
export interface Invocation {
  /** Aborts when the user stops the command. */
  stop: AbortSignal
  /** Set by the command that ran. */
  exitCode: number
}

const wholeNumber = (least: number, most: number) => (text: string) => {
  const number = Number(text)
  if (!Number.isInteger(number) || number < least || number > most)
    throw new InvalidArgumentError(`It must be a whole number from ${least} to ${most}.`)
  return number
}

function readAddress(text: string): string {
  if (!URL.canParse(text))
    throw new InvalidArgumentError("It must be an address, such as https://signals.example.com.")
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

/** Returns a client of the service, with the API key of the environment. */
export function openClient(options: {
  url: string
  /** Seconds. */
  deadline?: number | undefined
  parse?: ((text: string) => unknown) | undefined
}): SignalClient {
  const { url, deadline, parse } = options
  const key = process.env.SIGNAL_INGEST_KEY
  return new SignalClient({
    url,
    ...(key && { key }),
    ...(deadline !== undefined && { deadlineMs: deadline * 1000 }),
    parse,
  })
}

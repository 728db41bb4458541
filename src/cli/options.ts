import { InvalidArgumentError, Option } from "@commander-js/extra-typings"
import { SignalClient } from "../client/index.ts"

/** What a command of the command line needs besides its own options. */
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
  if (!URL.canParse(text)) throw new InvalidArgumentError("It must be an address, such as https://signals.example.com.")
  return text
}

/** Options that several commands share. Commander reads a default of the wrong type only through `argParser`'s own type. */
export const urlOption = () =>
  new Option("--url <url>", "address of the service")
    .env("SIGNAL_INGEST_URL")
    .default("http://localhost:8002")
    .argParser(readAddress)

export const batchSizeOption = () =>
  new Option("--batch-size <n>", "signals in a batch").default(500).argParser(wholeNumber(1, 10_000))

export const concurrencyOption = () =>
  new Option("--concurrency <n>", "batches in flight at once; fewer while the service is overloaded")
    .default(4)
    .argParser(wholeNumber(1, 100))

export const deadlineOption = () =>
  new Option("--deadline <seconds>", "how long one batch is retried").default(300).argParser(wholeNumber(1, 86_400))

export const quietOption = () => new Option("--quiet", "print no progress")

/** Collects `a=b` pairs of a repeated option. */
export function collectPairs(text: string, before: Record<string, string> | undefined): Record<string, string> {
  const at = text.indexOf("=")
  if (at < 1 || at === text.length - 1) throw new InvalidArgumentError("It must be COLUMN=FIELD.")
  return { ...before, [text.slice(0, at)]: text.slice(at + 1) }
}

export const KEY_HELP = "The API key is read from SIGNAL_INGEST_KEY."

/** A client of the service, with the key of the environment. */
export function openClient(options: { url: string; deadline?: number | undefined }): SignalClient {
  const { url, deadline } = options
  const key = process.env.SIGNAL_INGEST_KEY
  return new SignalClient({ url, ...(key && { key }), ...(deadline !== undefined && { deadlineMs: deadline * 1000 }) })
}

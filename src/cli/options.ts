import { UsageError } from "./usage.ts"

/** Options that every command which sends has. */
export const SENDING = {
  url: { type: "string" },
  "batch-size": { type: "string", default: "500" },
  concurrency: { type: "string", default: "4" },
  deadline: { type: "string", default: "300" },
  state: { type: "string" },
  failures: { type: "string" },
  restart: { type: "boolean", default: false },
  quiet: { type: "boolean", default: false },
  help: { type: "boolean", default: false },
} as const

export const SENDING_HELP = `  --url URL           the service (default SIGNAL_INGEST_URL or http://localhost:8002)
  --batch-size N      signals a batch, 1 to 10000 (default 500)
  --concurrency N     batches under way at once (default 4); fewer while the service asks for patience
  --deadline SECONDS  how long one batch is tried (default 300)
  --state FILE        where is kept how far it has come (default beside the source, or in .signals)
  --failures FILE     where the signals go that were not stored, with the reason (default beside the state)
  --restart           forget how far it had come, and begin anew
  --quiet             no progress

The API key is taken from SIGNAL_INGEST_KEY.`

export function wholeNumber(name: string, text: string, least: number, most: number): number {
  const number = Number(text)
  if (!Number.isInteger(number) || number < least || number > most)
    throw new UsageError(`--${name} ${text} must be a whole number from ${least} to ${most}.`)
  return number
}

export function serviceAddress(given: string | undefined): string {
  const text = given ?? process.env.SIGNAL_INGEST_URL ?? "http://localhost:8002"
  if (!URL.canParse(text)) throw new UsageError(`${text} is no address, such as https://signals.example.com.`)
  return text
}

/** `a=b` pairs of --map, as an object. */
export function readMap(pairs: readonly string[] | undefined): Record<string, string> | undefined {
  if (!pairs) return undefined
  return Object.fromEntries(
    pairs.map((pair) => {
      const at = pair.indexOf("=")
      if (at < 1 || at === pair.length - 1) throw new UsageError(`--map ${pair} must be COLUMN=FIELD.`)
      return [pair.slice(0, at), pair.slice(at + 1)]
    }),
  )
}

/** What a code means, and what its reader can do. */
export interface Meaning {
  meaning: string
  cure: string
  /** Of a signal's failure: the ledger has the batch. A failed request leaves nothing there. */
  inLedger: boolean
}

type Table = Record<string, Omit<Meaning, "inLedger">>

let asked: Promise<ReadonlyMap<string, Meaning>> | undefined

/** The codes by their names, from the file that the build makes; none of them where it cannot be read. */
export function codeMeanings(): Promise<ReadonlyMap<string, Meaning>> {
  asked ??= read().catch(() => {
    asked = undefined
    return new Map()
  })
  return asked
}

async function read(): Promise<ReadonlyMap<string, Meaning>> {
  const response = await fetch("/codes.json")
  const { signals, requests } = (await response.json()) as { signals: Table; requests: Table }
  const entries = (table: Table, inLedger: boolean) =>
    Object.entries(table).map(([code, row]): [string, Meaning] => [code, { ...row, inLedger }])
  return new Map([...entries(requests, false), ...entries(signals, true)])
}

/** The meaning and the cure as one text for people. */
export function explained({ meaning, cure }: Meaning): string {
  // The texts are Markdown's, for the documentation.
  const sentence = (text: string) => `${text.charAt(0).toUpperCase()}${text.slice(1)}.`.replaceAll("`", "")
  return `${sentence(meaning)} ${sentence(cure)}`
}

/** What a code means, and what its reader can do. */
export interface Meaning {
  meaning: string
  cure: string
  /** True for the failure of a signal: its batch is in the ledger. A failed request is not. */
  inLedger: boolean
}

type Table = Record<string, Omit<Meaning, "inLedger">>

let asked: Promise<ReadonlyMap<string, Meaning>> | undefined

/** The codes by their names, from the file that the build makes; empty when it cannot be read. */
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

/**
 * The meaning and the cure as one text for people. The texts are those of the documentation: Markdown, and
 * after a colon the form of an answer, which only a program reads.
 */
export function explained({ meaning, cure }: Meaning): string {
  const sentence = (text: string) => {
    const words = text.replace(/: [`{].*$/, "").replaceAll("`", "")
    return `${words.charAt(0).toUpperCase()}${words.slice(1)}.`
  }
  return `${sentence(meaning)} ${sentence(cure)}`
}

/**
 * The ids that the ledger keeps of a batch, one for each signal that did not fail, in batch order: runs of consecutive ids as
 * `first:count`, joined by commas. Ids are reserved in batch order, so most batches are one run.
 *
 * 0 is a signal that was a duplicate for certain. Where a whole batch is one statement, the ledger row is written before its signals:
 * a duplicate has the id reserved for it then, which no signal ever carries, so that it differs from its holder's.
 *
 * @returns one id a signal
 */
export function decodeSignalIds(text: string): number[] {
  return decodeRuns(text).flatMap(({ first, size }) =>
    Array.from({ length: size }, (_, place) => (first === 0 ? 0 : first + place)),
  )
}

/** The runs themselves, in batch order. */
export function decodeRuns(text: string): { first: number; size: number }[] {
  if (text === "") return []
  return text.split(",").map((run) => {
    const [first = 0, size = 0] = run.split(":").map(Number)
    return { first, size }
  })
}

/**
 * The ids of a batch in the ledger, one for each signal that did not fail, in batch order: runs of
 * consecutive ids as `first:count`, joined by commas. Ids are reserved in batch order, so most batches are
 * one run.
 *
 * 0 is a signal that is known as a duplicate. When a whole batch is one statement, the ledger row is written
 * before its signals: a duplicate then has the id reserved for it, which no signal ever gets, so that it
 * differs from the holder's id.
 *
 * @returns one id for each signal
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

/** A way to store batches that is measured. Several callers can use it at once. */
export interface Subject {
  /** Stores one batch. Callers are numbered from 0. */
  send(caller: number): Promise<void>
  close(): Promise<void>
}

/** Returns the items one after the other, and starts again after the last. */
export function inTurns<T>(items: readonly T[]): () => T {
  let given = 0
  return () => items[given++ % items.length] as T
}

/** Something that carries `size` signals to the table, ready to be asked by several callers at once. */
export interface Subject {
  /** Stores one batch; `caller` counts from 0. */
  send(caller: number): Promise<void>
  close(): Promise<void>
}

/** Gives one of `items` after the other, over and over. */
export function inTurns<T>(items: readonly T[]): () => T {
  let given = 0
  return () => items[given++ % items.length] as T
}

/** The size of one statement. It is far below the memory of a consumer and Neon's 64 MB. */
const MAX_PIECE_BYTES = 2 * 1024 * 1024
const MAX_PIECE_ROWS = 2000

/** An item with its share of a statement. */
export interface Weighed<Item> {
  item: Item
  bytes: number
  rows: number
}

/**
 * Splits a list into pieces of at most `MAX_PIECE_BYTES` and `MAX_PIECE_ROWS`. A larger item is a piece by
 * itself.
 */
export function cutIntoPieces<Item>(items: readonly Weighed<Item>[]): Item[][] {
  const pieces: Item[][] = []
  let bytes = Number.POSITIVE_INFINITY
  let rows = 0
  for (const weighed of items) {
    bytes += weighed.bytes
    rows += weighed.rows
    const piece = pieces.at(-1)
    if (piece && bytes <= MAX_PIECE_BYTES && rows <= MAX_PIECE_ROWS) piece.push(weighed.item)
    else {
      pieces.push([weighed.item])
      bytes = weighed.bytes
      rows = weighed.rows
    }
  }
  return pieces
}

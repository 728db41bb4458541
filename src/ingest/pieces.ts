/** One statement takes about this much; it is far below what a consumer's memory and Neon's 64 MB bear. */
const MAX_PIECE_BYTES = 2 * 1024 * 1024
const MAX_PIECE_ROWS = 2000

/** An item, and how much of a statement it is. */
export interface Weighed<Item> {
  item: Item
  bytes: number
  rows: number
}

/** Cuts a list into pieces of at most `MAX_PIECE_BYTES` and `MAX_PIECE_ROWS`; an item beyond them is a piece of its own. */
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

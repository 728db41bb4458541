/** The size of one statement. It is far below the memory of a consumer and Neon's 64 MB. */
const MAX_CHUNK_BYTES = 2 * 1024 * 1024
const MAX_CHUNK_ROWS = 2000

/** An item with its share of a statement. */
export interface Weighed<Item> {
  item: Item
  bytes: number
  rows: number
}

/**
 * Splits a list into chunks of at most `MAX_CHUNK_BYTES` and `MAX_CHUNK_ROWS`. A larger item is a chunk by
 * itself.
 */
export function cutIntoChunks<Item>(items: readonly Weighed<Item>[]): Item[][] {
  const chunks: Item[][] = []
  let bytes = Number.POSITIVE_INFINITY
  let rows = 0
  for (const weighed of items) {
    bytes += weighed.bytes
    rows += weighed.rows
    const chunk = chunks.at(-1)
    if (chunk && bytes <= MAX_CHUNK_BYTES && rows <= MAX_CHUNK_ROWS) chunk.push(weighed.item)
    else {
      chunks.push([weighed.item])
      bytes = weighed.bytes
      rows = weighed.rows
    }
  }
  return chunks
}

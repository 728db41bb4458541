import { type SignalClient, UnauthorizedError } from "../../client/index.ts"

/**
 * Returns whether the ledger of the service has a batch; undefined when the key cannot tell: with only the
 * scope `ingest` it sees no batches of other keys.
 */
export async function knowsBatch(client: SignalClient, transactionId: string): Promise<boolean | undefined> {
  try {
    if (await client.batch(transactionId)) return true
    // Whether the key can read. The statistics refuse a large table.
    for await (const _ of client.list({ pageSize: 1 })) break
    return false
  } catch (error) {
    if (error instanceof UnauthorizedError && error.status === 403) return undefined
    throw error
  }
}

import { type SignalClient, UnauthorizedError } from "../../client/index.ts"

/**
 * Returns whether the ledger of the service has a batch; undefined when the key cannot tell: with only the scope `ingest` it sees no
 * batches of other keys.
 */
export async function knowsBatch(client: SignalClient, transactionId: string): Promise<boolean | undefined> {
  try {
    if (await client.batch(transactionId)) return true
    await client.stats({ limit: 1 })
    return false
  } catch (error) {
    if (error instanceof UnauthorizedError && error.status === 403) return undefined
    throw error
  }
}

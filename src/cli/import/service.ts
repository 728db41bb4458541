import { type SignalClient, UnauthorizedError } from "../../client/index.ts"

/**
 * Whether the service's ledger has a batch. A key that may only ingest sees the batches of its own name alone, so that for it a batch
 * that is not shown is undefined: nothing tells whether the service has it.
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

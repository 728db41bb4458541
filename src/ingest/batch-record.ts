import { claimCheckRecord } from "../queue/claim-checks.ts"
import type { BatchRecord } from "../signals/responses.ts"
import { DatabaseError } from "../store/database/errors.ts"
import { batchRecord } from "../store/ledger/read.ts"
import type { IngestContext } from "./context.ts"

/**
 * Returns the ledger's record of a batch. While the ledger has none or cannot be read, returns the record in
 * the batch's claim check.
 *
 * @throws {DatabaseError} the database cannot be read, and there is no claim check
 */
export async function findBatch(
  { db, bucket }: Pick<IngestContext, "db" | "bucket">,
  transactionId: string,
): Promise<BatchRecord | undefined> {
  const queued = async () => (bucket ? claimCheckRecord(bucket, transactionId) : undefined)
  try {
    // A batch that is stored between the first two looks has left the bucket, and is in the ledger.
    return (
      (await batchRecord(db, transactionId)) ??
      (await queued()) ??
      (bucket && (await batchRecord(db, transactionId)))
    )
  } catch (error) {
    const record = error instanceof DatabaseError ? await queued() : undefined
    if (!record) throw error
    return record
  }
}

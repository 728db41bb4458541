import * as z from "zod"

const bytes = z.int().meta({ description: "Bytes on disk, indexes included." })
const instant = z.iso
  .datetime()
  .meta({ description: "UTC, microseconds.", example: "2025-01-15T09:30:00.000000Z" })

/** The number of partitions that are listed, oldest first. */
export const LISTED_PARTITIONS = 100

export const StorageRecord = z
  .object({
    retention_days: z
      .int()
      .nullable()
      .meta({ description: "Signals older than this are deleted; null: they are kept forever." }),
    ledger_retention_days: z
      .int()
      .meta({ description: "Days that ledger rows without signals and settled dead letters are kept." }),
    oldest_signal: instant
      .nullable()
      .meta({ description: "`received_at` of the oldest signal; null without signals." }),
    next_drop: z.object({ partition: z.string(), at: instant }).nullable().meta({
      description: "When the newest signal of the oldest partition expires; null when that is not known yet.",
    }),
    bytes: z.object({ signals: bytes, batches: bytes, dedupe_keys: bytes, dead_letters: bytes }),
    partition_count: z.int().meta({ description: "0 before `npm run db:partition`." }),
    partitions: z
      .array(z.object({ name: z.string(), from_id: z.int().nullable(), to_id: z.int(), bytes }))
      .meta({
        description: `The oldest ${LISTED_PARTITIONS}, with their ids: from inclusive, to exclusive.`,
      }),
  })
  .meta({ id: "Storage" })
/** The size of the tables, and when the oldest signals are deleted. */
export type StorageRecord = z.infer<typeof StorageRecord>

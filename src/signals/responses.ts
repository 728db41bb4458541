import * as z from "zod"
import { FAILURE_CODE_NAMES, PROBLEM_CODE_NAMES } from "./failures.ts"
import { STORED_FIELDS } from "./schema.ts"
import { DEAD_LETTER_SOURCES } from "./sources.ts"

const id = z.int().meta({ description: "The signal's id in the table.", example: 1001 })
const transactionId = z.uuid().meta({ description: "Names the batch in the ledger (UUIDv7)." })
const instant = z.iso
  .datetime()
  .meta({ description: "UTC, microseconds.", example: "2025-01-15T09:30:00.000000Z" })

/**
 * A plain string in the API description, since a new code must not break clients that were generated from an
 * older description.
 */
const openEnum = <Name extends string>(names: readonly Name[], description: string, example: Name) =>
  z.enum(names).meta({ description, example, override: { type: "string", "x-extensible-enum": names } })

export const ProblemCode = openEnum(PROBLEM_CODE_NAMES, "Why the request failed.", "invalid_request")

const ofFailure = {
  code: openEnum(FAILURE_CODE_NAMES, "Why it was not stored.", "out_of_range"),
  field: z
    .string()
    .optional()
    .meta({ description: "The field that the error is about, where there is one.", example: "signal_score" }),
  retryable: z.boolean().meta({ description: "The same signal may be stored when it is sent again later." }),
}

export const Failure = z.object({
  index: z.int().meta({ description: "Index in the batch, from 0." }),
  error: z.string().meta({
    description: "The broken rule, as one sentence.",
    example: "signal_score must be between 0 and 1",
  }),
  ...ofFailure,
})
/**
 * A signal that was not stored: its index in the batch, and the rule it breaks as one sentence and as a code.
 */
export type Failure = z.infer<typeof Failure>

export const SignalResult = z.object({
  index: z.int(),
  success: z.boolean(),
  signal_id: id.nullable(),
  error: z.string().nullable(),
  code: ofFailure.code.optional(),
  field: ofFailure.field,
  retryable: ofFailure.retryable.optional(),
  duplicate: z
    .literal(true)
    .optional()
    .meta({ description: "The id is that of an earlier signal with the same dedupe_key." }),
  waiting: z
    .literal(true)
    .optional()
    .meta({ description: "Of a score: it is kept until the signal with its dedupe_key is stored." }),
})
/** The outcome of one signal. */
export type SignalResult = z.infer<typeof SignalResult>

export const BatchAnswer = z
  .object({
    total_count: z.int(),
    successful_count: z.int(),
    failed_count: z.int(),
    results: z.array(SignalResult),
    transaction_id: transactionId
      .nullable()
      .meta({ description: "Names the batch in the ledger; null when nothing was written." }),
    ignored_fields: z
      .array(z.string())
      .optional()
      .meta({ description: "Unknown fields of the signals; they were not stored." }),
  })
  .meta({ id: "BatchAnswer" })
export type BatchAnswer = z.infer<typeof BatchAnswer>

const waitingCount = z.int().meta({
  description: "Scores among the successful that are kept until their signals come; see `waiting`.",
})

export const ScoresAnswer = BatchAnswer.extend({ waiting_count: waitingCount }).meta({ id: "ScoresAnswer" })
/** The answer to a batch of scores. */
export type ScoresAnswer = z.infer<typeof ScoresAnswer>

export const StoredSignal = z
  .object({
    id,
    time: instant,
    received_at: instant.meta({
      description: "When the service stored it: UTC, microseconds.",
      example: "2025-01-15T09:30:01.234567Z",
    }),
    edited_at: instant.nullable().meta({
      description: "When its source last changed it, where the service follows edits: UTC, microseconds.",
      example: null,
    }),
    transaction_id: transactionId,
    ...STORED_FIELDS,
    payload_omitted: z.literal(true).optional().meta({
      description:
        "The payload is not null, and too large to be listed (8 MB as text). Read the signal by its id.",
    }),
  })
  .meta({ id: "StoredSignal" })
/** A signal in the answer of a read. */
export type StoredSignal = z.infer<typeof StoredSignal>

export const StoredScore = z
  .object({
    signal_score: z.number().nullable().meta({ description: "Null: it left the value as it was." }),
    emotional_tone: z.number().nullable(),
    escalate_flag: z.int().nullable(),
    scored_at: instant,
    scorer: z.string().nullable(),
    received_at: instant,
    transaction_id: transactionId.meta({ description: "Names the batch of scores in the ledger." }),
  })
  .meta({ id: "StoredScore" })
/** A score that came after its signal. */
export type StoredScore = z.infer<typeof StoredScore>

export const SignalWithScores = StoredSignal.extend({
  scores: z.array(StoredScore).meta({ description: "The scores that came after the signal, newest first." }),
}).meta({ id: "SignalWithScores" })
export type SignalWithScores = z.infer<typeof SignalWithScores>

export const FeedSignal = StoredSignal.extend({
  change: z.literal("score").optional().meta({
    description: "Why the signal comes once more: a score was stored for it. Absent where it comes first.",
  }),
}).meta({ id: "FeedSignal" })
/** A signal in the feed. */
export type FeedSignal = z.infer<typeof FeedSignal>

export const SignalPage = z.object({
  signals: z.array(StoredSignal).meta({
    description:
      "When a filter leaves few of many signals, a page before the last can have fewer than `limit`, or none.",
  }),
  next_cursor: z
    .string()
    .nullable()
    .meta({ description: "Pass it as `cursor` for the next page; null on the last." }),
})

export const FeedAnswer = z
  .object({
    signals: z
      .array(FeedSignal)
      .meta({ description: "In commit order. It may be empty although `more` is true." }),
    next_cursor: z.string().meta({
      description: "Pass it as `after` to continue. Save it together with the results of the signals.",
    }),
    more: z.boolean().meta({ description: "The next request can read more at once." }),
    lag_seconds: z.number().min(0).meta({
      description:
        "How long the oldest stored batch has waited for a transaction that is still open; 0 when none waits.",
    }),
  })
  .meta({ id: "FeedAnswer" })
/** One page of the feed. */
export type FeedAnswer = z.infer<typeof FeedAnswer>

export const ConversationStats = z.object({
  context_window_id: z.string(),
  signal_count: z.int(),
  avg_score: z.number(),
  latest_signal: instant,
})
export type ConversationStats = z.infer<typeof ConversationStats>

export const SignalStats = z.object({ stats: z.array(ConversationStats) })

export const BatchRecord = z
  .object({
    transaction_id: transactionId,
    kind: z.literal("scores").optional().meta({ description: "It has scores. Absent: it has signals." }),
    state: z.enum(["queued", "stored", "failed"]).meta({
      description:
        "queued: acknowledged, and stored later. failed: acknowledged, but no signal could be stored.",
    }),
    created_at: instant,
    caller: z.string().meta({ description: "Name of the key that sent it." }),
    idempotency_key: z.string().nullable(),
    total_count: z.int(),
    successful_count: z.int(),
    failed_count: z.int(),
    waiting_count: waitingCount
      .optional()
      .meta({ description: "Of scores: how many of the successful waited for their signals then." }),
    failures: z.array(Failure),
    reason: z
      .string()
      .optional()
      .meta({ description: "Why a failed batch failed as a whole, or which batch a stored one duplicates." }),
  })
  .meta({ id: "BatchRecord" })
/** The record of a batch in the ledger. */
export type BatchRecord = z.infer<typeof BatchRecord>

/** The failures of each batch on a page of the ledger. The batch's own record has all. */
export const LISTED_FAILURES = 20

export const BatchPage = z.object({
  batches: z
    .array(BatchRecord)
    .meta({ description: `With the first ${LISTED_FAILURES} failures of each batch.` }),
  next_cursor: z
    .string()
    .nullable()
    .meta({ description: "Pass it as `cursor` for the next page; null on the last." }),
})

const deadLetterFields = {
  id: z.int(),
  created_at: instant,
  state: z.enum(["waiting", "replayed", "discarded"]),
  source: z.enum(DEAD_LETTER_SOURCES).meta({ description: "How a replay reads the record." }),
  caller: z.string(),
  reason: z.string().meta({ description: "Why it could not be stored, as one sentence." }),
  ...ofFailure,
  transaction_id: transactionId,
  index: z.int().meta({ description: "Index in the delivery, from 0." }),
  truncated: z
    .boolean()
    .meta({ description: "Only the first MiB of the record is kept, so that it cannot be replayed." }),
  replay_transaction_id: transactionId.meta({
    description: "Names the batch of its replay. Repeated replays have the same batch.",
  }),
}

export const ListedDeadLetter = z.object(deadLetterFields).meta({ id: "ListedDeadLetter" })
/** A dead letter in a list. */
export type ListedDeadLetter = z.infer<typeof ListedDeadLetter>

export const DeadLetterRecord = z
  .object({
    ...deadLetterFields,
    record: z
      .string()
      .meta({ description: "JSON of the delivered record; only its beginning when it is truncated." }),
  })
  .meta({ id: "DeadLetter" })
/** An acknowledged record that could not become a signal. */
export type DeadLetterRecord = z.infer<typeof DeadLetterRecord>

export const DeadLetterPage = z.object({
  dead_letters: z
    .array(ListedDeadLetter)
    .meta({ description: "Without their records, which `GET /api/dead-letters/{id}` has." }),
  next_cursor: z
    .string()
    .nullable()
    .meta({ description: "Pass it as `cursor` for the next page; null on the last." }),
})

/** The outcome of a replay. */
export const ReplayAnswer = z.object({
  replayed: z
    .boolean()
    .meta({ description: "false: it still cannot be stored, for the given reason, and stays." }),
  reason: z.string().optional(),
  transaction_id: transactionId.optional(),
})
export type ReplayAnswer = z.infer<typeof ReplayAnswer>

/** The outcome of one call that replays many dead letters. */
export const BulkReplayAnswer = z
  .object({
    replayed_count: z.int(),
    failed_count: z.int().meta({ description: "Dead letters that still cannot be stored, and stay." }),
    failures: z.array(z.object({ id: z.int(), reason: z.string() })),
    next_cursor: z
      .string()
      .nullable()
      .meta({ description: "Pass it as `cursor` for the next call; null when none is left." }),
  })
  .meta({ id: "BulkReplayAnswer" })
export type BulkReplayAnswer = z.infer<typeof BulkReplayAnswer>

/** The answer of a webhook. */
export const DeliveryAnswer = z
  .object({
    state: z.enum(["queued", "stored", "skipped"]).meta({
      description:
        "queued: accepted, and stored later. stored: in the table. skipped: it had no record to store.",
    }),
    total_count: z.int().meta({ description: "Records that were not skipped." }),
    accepted_count: z.int(),
    failed_count: z
      .int()
      .meta({ description: "Records that can become neither a signal nor a score; kept as dead letters." }),
    duplicate_count: z.int().optional().meta({
      description: "Accepted records whose dedupe_key was stored before. Only where `state` is stored.",
    }),
    failures: z.array(Failure),
    skipped: z
      .record(z.string(), z.int())
      .meta({ description: "Records acknowledged and not stored, by kind." }),
    transaction_id: transactionId
      .optional()
      .meta({ description: "Names the batch in the ledger when it is stored." }),
    scores_transaction_id: transactionId.optional().meta({
      description:
        "Names the batch of the scores in the ledger, where the call has other records beside them.",
    }),
  })
  .meta({ id: "DeliveryAnswer" })
export type DeliveryAnswer = z.infer<typeof DeliveryAnswer>

const bytes = z.int().meta({ description: "Bytes on disk, indexes included." })
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
    signal_count: z.int().meta({
      description:
        "About how many signals are stored, by the statistics of the database; 0 when it has none.",
    }),
    bytes: z.object({ signals: bytes, batches: bytes, dedupe_keys: bytes, dead_letters: bytes }),
    partition_count: z.int(),
    partitions: z
      .array(z.object({ name: z.string(), from_id: z.int().nullable(), to_id: z.int(), bytes }))
      .meta({
        description: `The oldest ${LISTED_PARTITIONS}, with their ids: from inclusive, to exclusive.`,
      }),
  })
  .meta({ id: "Storage" })
/** The size of the tables, and when the oldest signals are deleted. */
export type StorageRecord = z.infer<typeof StorageRecord>

/** Counting ends here, so that the time of a scrape does not grow with what waits. */
export const COUNTED_WAITING = 10_000

/** What waits in the database for an operator, for the sweep, or for an open transaction. */
export interface OperatingFigures {
  /** At most `COUNTED_WAITING`. */
  deadLettersWaiting: number
  /** When the oldest of them was stored, in seconds since the epoch; null when none waits. */
  oldestDeadLetter: number | null
  /** Erasures that are not done, at most `COUNTED_WAITING`. */
  erasuresRunning: number
  /** When the oldest of them was requested, in seconds since the epoch; null when none runs. */
  oldestErasure: number | null
  /** As `lag_seconds` of the feed. */
  feedLagSeconds: number
}

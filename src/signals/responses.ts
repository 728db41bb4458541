import * as z from "zod"
import { FAILURE_CODE_NAMES, PROBLEM_CODE_NAMES } from "./failures/codes.ts"
import { STORED_FIELDS } from "./schema.ts"

const id = z.int().meta({ description: "The signal's id in the table.", example: 1001 })
const transactionId = z.uuid().meta({ description: "Names the batch in the ledger (UUIDv7)." })
const instant = z.iso.datetime().meta({ description: "UTC, microseconds.", example: "2025-01-15T09:30:00.000000Z" })

/** A string in the API's description, since a new code must not break the clients that were made of an older one. */
const openEnum = <Name extends string>(names: readonly Name[], description: string, example: Name) =>
  z.enum(names).meta({ description, example, override: { type: "string", "x-extensible-enum": names } })

export const ProblemCode = openEnum(PROBLEM_CODE_NAMES, "Why the request failed.", "invalid_request")

const ofFailure = {
  code: openEnum(FAILURE_CODE_NAMES, "Why it was not stored.", "out_of_range"),
  field: z.string().optional().meta({ description: "The field that it is about, where it is one.", example: "signal_score" }),
  retryable: z.boolean().meta({ description: "The same signal may be stored when it is sent again later." }),
}

export const Failure = z.object({
  index: z.int().meta({ description: "Place in the batch, from 0." }),
  error: z.string().meta({ description: "The broken rule, as one sentence.", example: "signal_score must be between 0 and 1" }),
  ...ofFailure,
})
/** A signal that was not stored: its place in the batch, and the rule it breaks as one sentence and as a code. */
export type Failure = z.infer<typeof Failure>

export const SignalResult = z.object({
  index: z.int(),
  success: z.boolean(),
  signal_id: id.nullable(),
  error: z.string().nullable(),
  code: ofFailure.code.optional(),
  field: ofFailure.field,
  retryable: ofFailure.retryable.optional(),
  duplicate: z.literal(true).optional().meta({ description: "The id is that of an earlier signal with the same dedupe_key." }),
})
/** One signal's fate. */
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
    ignored_fields: z.array(z.string()).optional().meta({ description: "Unknown fields met; they were not stored." }),
  })
  .meta({ id: "BatchAnswer" })
export type BatchAnswer = z.infer<typeof BatchAnswer>

export const StoredSignal = z
  .object({
    id,
    time: instant,
    received_at: instant.meta({
      description:
        "When the service stored it: UTC, microseconds. Of a signal that an earlier version stored, when it was accepted.",
      example: "2025-01-15T09:30:01.234567Z",
    }),
    edited_at: instant.nullable().meta({
      description: "When its source last changed it, where the service follows edits: UTC, microseconds.",
      example: null,
    }),
    transaction_id: transactionId,
    ...STORED_FIELDS,
    payload_omitted: z.literal(true).optional().meta({
      description: "The payload is not null, and too large to be listed (8 MB as text). Read the signal by its id.",
    }),
  })
  .meta({ id: "StoredSignal" })
/** A signal as a read gives it. */
export type StoredSignal = z.infer<typeof StoredSignal>

export const SignalPage = z.object({
  signals: z.array(StoredSignal).meta({
    description: "Where a filter leaves few of many signals, a page that is not the last may hold fewer than `limit`, or none.",
  }),
  next_cursor: z.string().nullable().meta({ description: "Pass it as `cursor` for the next page; null on the last." }),
})

export const FeedAnswer = z
  .object({
    signals: z.array(StoredSignal).meta({ description: "In commit order. It may be empty although `more` is true." }),
    next_cursor: z.string().meta({ description: "Pass it as `after` to read on. Keep it with what you made of the signals." }),
    more: z.boolean().meta({ description: "The next request has something to read at once." }),
    lag_seconds: z.number().min(0).meta({
      description: "How long the oldest stored batch has waited for a transaction that is still open; 0 when none waits.",
    }),
  })
  .meta({ id: "FeedAnswer" })
/** A part of the feed. */
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
    state: z.enum(["queued", "stored", "failed"]).meta({
      description: "queued: acknowledged, and will be stored. failed: was acknowledged, and none of it could be stored.",
    }),
    created_at: instant,
    caller: z.string().meta({ description: "Name of the key it was sent with." }),
    idempotency_key: z.string().nullable(),
    total_count: z.int(),
    successful_count: z.int(),
    failed_count: z.int(),
    failures: z.array(Failure),
    reason: z
      .string()
      .optional()
      .meta({ description: "Why a failed batch failed as a whole, or which batch a stored one repeats." }),
  })
  .meta({ id: "BatchRecord" })
/** What the ledger says of a batch. */
export type BatchRecord = z.infer<typeof BatchRecord>

/** How many failures of each batch a page of the ledger tells; the batch's own record tells all. */
export const LISTED_FAILURES = 20

export const BatchPage = z.object({
  batches: z.array(BatchRecord).meta({ description: `Of each batch the first ${LISTED_FAILURES} failures.` }),
  next_cursor: z.string().nullable().meta({ description: "Pass it as `cursor` for the next page; null on the last." }),
})

const deadLetterFields = {
  id: z.int(),
  created_at: instant,
  state: z.enum(["waiting", "replayed", "discarded"]),
  source: z
    .enum(["slack", "kafka", "signal", "queue"])
    .meta({ description: "Which way in reads the record when it is replayed." }),
  caller: z.string(),
  reason: z.string().meta({ description: "Why it could not be stored, as one sentence." }),
  transaction_id: transactionId,
  index: z.int().meta({ description: "Place in what was delivered, from 0." }),
  truncated: z.boolean().meta({ description: "Only the first MiB of the record is kept, so that it cannot be replayed." }),
  replay_transaction_id: transactionId.meta({
    description: "Names the batch of its replay, which is one however often it is asked for.",
  }),
}

export const ListedDeadLetter = z.object(deadLetterFields).meta({ id: "ListedDeadLetter" })
/** A dead letter as a list has it. */
export type ListedDeadLetter = z.infer<typeof ListedDeadLetter>

export const DeadLetterRecord = z
  .object({
    ...deadLetterFields,
    record: z.string().meta({ description: "JSON of what was delivered; its beginning when it is truncated." }),
  })
  .meta({ id: "DeadLetter" })
/** A record that was acknowledged and could not be stored as a signal. */
export type DeadLetterRecord = z.infer<typeof DeadLetterRecord>

export const DeadLetterPage = z.object({
  dead_letters: z.array(ListedDeadLetter).meta({ description: "Without their records, which `GET /api/dead-letters/{id}` has." }),
  next_cursor: z.string().nullable().meta({ description: "Pass it as `cursor` for the next page; null on the last." }),
})

/** What a replay came to. */
export const ReplayAnswer = z.object({
  replayed: z.boolean().meta({ description: "false: it still can't be stored, for the reason given, and stays." }),
  reason: z.string().optional(),
  transaction_id: transactionId.optional(),
})
export type ReplayAnswer = z.infer<typeof ReplayAnswer>

/** What became of one call that replays many. */
export const BulkReplayAnswer = z
  .object({
    replayed_count: z.int(),
    failed_count: z.int().meta({ description: "Dead letters that still can't be stored, and stay." }),
    failures: z.array(z.object({ id: z.int(), reason: z.string() })),
    next_cursor: z.string().nullable().meta({ description: "Pass it as `cursor` for the next call; null when none is left." }),
  })
  .meta({ id: "BulkReplayAnswer" })
export type BulkReplayAnswer = z.infer<typeof BulkReplayAnswer>

/** The answer of a webhook. */
export const DeliveryAnswer = z
  .object({
    state: z.enum(["queued", "stored", "skipped"]).meta({
      description: "queued: kept, and will be stored. stored: in the table. skipped: nothing of it was to be stored.",
    }),
    total_count: z.int().meta({ description: "Records that were to become signals." }),
    accepted_count: z.int(),
    failed_count: z.int().meta({ description: "Records that can't become signals; kept as dead letters." }),
    duplicate_count: z
      .int()
      .optional()
      .meta({ description: "Of the accepted records, those whose dedupe_key was stored before. Only where `state` is stored." }),
    failures: z.array(Failure),
    skipped: z.record(z.string(), z.int()).meta({ description: "Records acknowledged and not stored, by kind." }),
    transaction_id: transactionId.optional().meta({ description: "Names the batch in the ledger, once it is stored." }),
  })
  .meta({ id: "DeliveryAnswer" })
export type DeliveryAnswer = z.infer<typeof DeliveryAnswer>

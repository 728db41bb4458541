import { sql } from "drizzle-orm"
import {
  bigint,
  boolean,
  check,
  customType,
  date,
  doublePrecision,
  index,
  integer,
  jsonb,
  pgTable,
  primaryKey,
  smallint,
  text,
  timestamp,
  uniqueIndex,
  uuid,
} from "drizzle-orm/pg-core"
import type { Failure } from "../../signals/responses.ts"
import { SCOPES } from "../../signals/rules.ts"
import { DEAD_LETTER_SOURCES } from "../../signals/sources.ts"
import { type DeliveryAttempt, STATES, type SubscriptionFilter } from "../../subscriptions/schema.ts"

/**
 * A `user_id` with more bytes is in an index by its hash, since a row of a b-tree holds 2,704 bytes. Both
 * indexes are partial, by this length.
 */
export const MAX_INDEXED_BYTES = 1000

/**
 * One row for each signal. `id` rises in the order of a batch, so that the ledger row of a batch is enough to
 * replay its answer.
 *
 * In partitions by ranges of `id`; see drizzle/functions/partitions.sql.
 *
 * There is no foreign key to `batches`: both rows are written by one statement, and a key would cost a
 * trigger a row.
 */
export const signals = pgTable(
  "signals",
  {
    id: bigint({ mode: "number" }).primaryKey().generatedAlwaysAsIdentity({ name: "signals_id_seq" }),
    time: timestamp({ withTimezone: true, mode: "string" }).notNull(),
    /** When the row was stored, by the database's clock. */
    receivedAt: timestamp("received_at", { withTimezone: true, mode: "string" }).notNull().defaultNow(),
    /**
     * When its source last changed it, such as Slack a message that was edited; null when it is as it first
     * came.
     */
    editedAt: timestamp("edited_at", { withTimezone: true, mode: "string" }),
    transactionId: uuid("transaction_id").notNull(),
    signalScore: doublePrecision("signal_score").notNull(),
    emotionalTone: doublePrecision("emotional_tone"),
    escalateFlag: smallint("escalate_flag").notNull(),
    contextWindowId: text("context_window_id").notNull(),
    signalSource: text("signal_source").notNull(),
    rawContent: text("raw_content"),
    signalVector: text("signal_vector"),
    agentId: text("agent_id"),
    userId: text("user_id"),
    payload: jsonb(),
    relationshipContext: text("relationship_context"),
    diagnosticNotes: text("diagnostic_notes"),
    dedupeKey: text("dedupe_key"),
  },
  (table) => [
    // Its indexes are in src/local/postgres/indexes.ts.
    check("signals_context_window_id_length", sql`char_length(${table.contextWindowId}) between 1 and 255`),
    check("signals_signal_source_length", sql`char_length(${table.signalSource}) between 1 and 255`),
    check("signals_dedupe_key_length", sql`char_length(${table.dedupeKey}) between 1 and 255`),
    check("signals_signal_score_range", sql`${table.signalScore} between 0 and 1`),
    check("signals_emotional_tone_range", sql`${table.emotionalTone} between 0 and 1`),
    check("signals_escalate_flag_range", sql`${table.escalateFlag} in (0, 1)`),
    check("signals_payload_object", sql`jsonb_typeof(${table.payload}) = 'object'`),
  ],
)

/**
 * The dedupe_keys of all signals that were ever stored: the first 16 bytes of a key's SHA-256
 * (`dedupe_key_hash`), and the id of the first signal with it, which may be gone.
 */
export const dedupeKeys = pgTable("dedupe_keys", {
  keyHash: uuid("key_hash").primaryKey(),
  signalId: bigint("signal_id", { mode: "number" }).notNull(),
})

/**
 * Saved positions of the ledger's sweeps: the last transaction id that each has tested.
 */
export const sweepPositions = pgTable("sweep_positions", {
  name: text().primaryKey(),
  position: uuid().notNull(),
})

/** The number of a transaction, which does not wrap around. As text, since it has 64 bits. */
const xid8 = customType<{ data: string }>({ dataType: () => "xid8" })

/**
 * The ledger: one row a batch, written in the transaction of its signals, so that its presence is the only
 * truth about "was it stored". Its signals are those of `signals` with its `transaction_id`, all between
 * `first_signal_id` and `last_signal_id`.
 */
export const batches = pgTable(
  "batches",
  {
    transactionId: uuid("transaction_id").primaryKey(),
    createdAt: timestamp("created_at", { withTimezone: true, mode: "string" }).notNull().defaultNow(),
    caller: text().notNull(),
    /** What the batch has: signals, or scores of stored signals. */
    kind: text({ enum: ["signals", "scores"] })
      .notNull()
      .default("signals"),
    /** `failed`: accepted to be stored later, but none of it could be stored. */
    state: text({ enum: ["stored", "failed"] }).notNull(),
    totalCount: integer("total_count").notNull(),
    failedCount: integer("failed_count").notNull(),
    failures: jsonb().$type<Failure[]>().notNull(),
    /** Why a failed batch failed as a whole, or which batch a stored one duplicates. */
    reason: text(),
    firstSignalId: bigint("first_signal_id", { mode: "number" }),
    lastSignalId: bigint("last_signal_id", { mode: "number" }),
    /**
     * The id of each signal that is not in `failures`, in batch order; see `decodeSignalIds`. Of scores: the
     * signals that they were stored for; a negative id is that of a score that was stored before, and 0 one
     * that waits.
     */
    signalIds: text("signal_ids").notNull().default(""),
    idempotencyKey: text("idempotency_key"),
    /** Request hash, SHA-256 in hex; distinguishes a retry from another request under the same key. */
    requestHash: text("request_hash"),
    /** The transaction that wrote the row, by which the feed orders batches. */
    xid: xid8().notNull().default(sql`pg_current_xact_id()`),
  },
  (table) => [
    index("batches_xid_transaction_id_idx").on(table.xid, table.transactionId),
    uniqueIndex("batches_idempotency_key_idx")
      .on(table.caller, table.idempotencyKey)
      .where(sql`${table.idempotencyKey} is not null`),
    index("batches_idempotency_expiry_idx")
      .on(table.createdAt)
      .where(sql`${table.idempotencyKey} is not null`),
    check("batches_counts", sql`${table.failedCount} between 0 and ${table.totalCount}`),
  ],
)

/**
 * The dead letters: one row for each acknowledged record that could not become a signal, whichever route it
 * came by. `record` is JSON as text, since jsonb takes no U+0000, and at most about 1 MiB of it.
 */
export const deadLetters = pgTable(
  "dead_letters",
  {
    id: bigint({ mode: "number" }).primaryKey().generatedAlwaysAsIdentity({ name: "dead_letters_id_seq" }),
    createdAt: timestamp("created_at", { withTimezone: true, mode: "string" }).notNull().defaultNow(),
    /**
     * The batch of the record, and its index there. They are unique, so that a record that is delivered twice
     * is kept once.
     */
    transactionId: uuid("transaction_id").notNull(),
    index: integer().notNull(),
    source: text({ enum: DEAD_LETTER_SOURCES }).notNull(),
    caller: text().notNull(),
    reason: text().notNull(),
    record: text().notNull(),
    /** As in a batch's failures. */
    code: text().notNull(),
    field: text(),
    /** Only the beginning of the record is kept. */
    truncated: boolean().notNull().default(false),
    /**
     * The subjects of the record, as far as they are known, as hashes (`subject_hash`): an erasure finds it.
     */
    subjectHashes: uuid("subject_hashes").array().notNull().default([]),
    /** The batch under which every replay stores it. */
    replayTransactionId: uuid("replay_transaction_id").notNull(),
    state: text({ enum: ["waiting", "replayed", "discarded"] })
      .notNull()
      .default("waiting"),
  },
  (table) => [
    uniqueIndex("dead_letters_transaction_id_index_idx").on(table.transactionId, table.index),
    index("dead_letters_state_id_idx").on(table.state, table.id),
  ],
)

/** What an erasure may name: a subject by one of three fields of a signal, or signals by their ids. */
export const ERASURE_KINDS = ["user_id", "agent_id", "context_window_id", "signal_ids"] as const

/**
 * The audit of erasures: one row for each request. It holds the subject until it is done, then only
 * the subject's hash (`subject_hash`) and the counts of what it removed.
 */
export const erasures = pgTable(
  "erasures",
  {
    /** UUIDv7: what was accepted before the erasure has a smaller transaction id. */
    id: uuid().primaryKey(),
    createdAt: timestamp("created_at", { withTimezone: true, mode: "string" }).notNull().defaultNow(),
    finishedAt: timestamp("finished_at", { withTimezone: true, mode: "string" }),
    requestedBy: text("requested_by").notNull(),
    kind: text({ enum: ERASURE_KINDS }).notNull(),
    subjectHash: uuid("subject_hash").notNull(),
    suppress: boolean().notNull(),
    /** The next part of the work; `done` is the last. */
    phase: text({ enum: ["begin", "wait", "signals", "dead_letters", "ledger", "bucket", "done"] })
      .notNull()
      .default("begin"),
    /** How far that part has come: an id, or "" at its beginning. */
    position: text().notNull().default(""),
    subject: text(),
    signalIds: bigint("signal_ids", { mode: "number" }).array(),
    /**
     * The batches of the signals that were erased by their ids: a dead letter that was replayed as one of
     * them goes, too.
     */
    transactionIds: uuid("transaction_ids").array(),
    /** The transactions that may have begun before the suppression, as `pg_locks` names them. */
    waitsFor: text("waits_for").array(),
    signalCount: bigint("signal_count", { mode: "number" }).notNull().default(0),
    deadLetterCount: bigint("dead_letter_count", { mode: "number" }).notNull().default(0),
    ledgerCount: bigint("ledger_count", { mode: "number" }).notNull().default(0),
    objectCount: bigint("object_count", { mode: "number" }).notNull().default(0),
    idempotencyKey: text("idempotency_key"),
    requestHash: text("request_hash"),
  },
  (table) => [
    uniqueIndex("erasures_idempotency_key_idx")
      .on(table.requestedBy, table.idempotencyKey)
      .where(sql`${table.idempotencyKey} is not null`),
    index("erasures_running_idx").on(table.id).where(sql`${table.phase} <> 'done'`),
  ],
)

/**
 * The subjects whose signals are refused, as hashes (`subject_hash`). One that is not permanent refuses what
 * was accepted before its erasure, such as what waits in a queue.
 */
export const suppressions = pgTable(
  "suppressions",
  {
    kind: text({ enum: ERASURE_KINDS }).notNull(),
    subjectHash: uuid("subject_hash").notNull(),
    erasureId: uuid("erasure_id").notNull(),
    permanent: boolean().notNull(),
    createdAt: timestamp("created_at", { withTimezone: true, mode: "string" }).notNull().defaultNow(),
  },
  (table) => [primaryKey({ columns: [table.kind, table.subjectHash] })],
)

/**
 * The API keys that were made at run time: one row for each key, also for keys that have ended. A name is the
 * caller: the keys of one name are one caller, made by rotation, and a name is never given to another caller.
 */
export const apiKeys = pgTable(
  "api_keys",
  {
    /** UUIDv7. */
    id: uuid().primaryKey(),
    name: text().notNull(),
    /** SHA-256 of the key, in hex. The key itself is stored nowhere. */
    sha256: text().notNull(),
    /** The beginning of the key, by which people tell keys apart. */
    hint: text().notNull(),
    scopes: text({ enum: SCOPES }).array().notNull(),
    createdAt: timestamp("created_at", { withTimezone: true, mode: "string" }).notNull().defaultNow(),
    createdBy: text("created_by").notNull(),
    /** `infinity` when it does not expire. */
    expiresAt: timestamp("expires_at", { withTimezone: true, mode: "string" }).notNull().default("infinity"),
    revokedAt: timestamp("revoked_at", { withTimezone: true, mode: "string" }),
    revokedBy: text("revoked_by"),
    /** The key that this one was made to replace; null for the first key of a name. */
    rotatedFrom: uuid("rotated_from"),
    /** The last day, in UTC, on which a request had the key. */
    lastUsedOn: date("last_used_on", { mode: "string" }),
    /** What its caller may send in a day, in UTC; null: no limit. */
    signalsPerDay: bigint("signals_per_day", { mode: "number" }),
    bytesPerDay: bigint("bytes_per_day", { mode: "number" }),
  },
  (table) => [
    uniqueIndex("api_keys_sha256_idx").on(table.sha256),
    uniqueIndex("api_keys_name_idx").on(table.name).where(sql`${table.rotatedFrom} is null`),
    index("api_keys_live_idx").on(table.expiresAt).where(sql`${table.revokedAt} is null`),
  ],
)

/**
 * The subscriptions: what each sends where, how far in the feed it has come, and what its receiver answered.
 * Address and secrets are sealed; see src/subscriptions/secrets.ts.
 */
export const subscriptions = pgTable(
  "subscriptions",
  {
    /** UUIDv7. */
    id: uuid().primaryKey(),
    createdAt: timestamp("created_at", { withTimezone: true, mode: "string" }).notNull().defaultNow(),
    createdBy: text("created_by").notNull(),
    name: text().notNull(),
    /** Bounds their number. */
    slot: smallint().notNull(),
    format: text().notNull(),
    filter: jsonb().$type<SubscriptionFilter>().notNull(),
    state: text({ enum: STATES }).notNull().default("active"),
    url: text().notNull(),
    secret: text().notNull(),
    /** The former secret, which signs too until the time beside it. */
    previousSecret: text("previous_secret"),
    previousSecretUntil: timestamp("previous_secret_until", { withTimezone: true, mode: "string" }),
    /** The position in the feed up to which everything was delivered, or passed over by the filter. */
    positionXid: xid8("position_xid").notNull(),
    positionTransactionId: uuid("position_transaction_id").notNull(),
    positionId: bigint("position_id", { mode: "number" }),
    /**
     * The end of the range of a call that was begun and whose answer is not saved: the next attempt has the
     * same range.
     */
    pending: jsonb().$type<{ xid: string; transactionId: string; id: number | null }>(),
    failedAttempts: integer("failed_attempts").notNull().default(0),
    failingSince: timestamp("failing_since", { withTimezone: true, mode: "string" }),
    nextAttemptAt: timestamp("next_attempt_at", { withTimezone: true, mode: "string" }),
    deliveredSignals: bigint("delivered_signals", { mode: "number" }).notNull().default(0),
    /** Newest first. */
    answers: jsonb().$type<DeliveryAttempt[]>().notNull().default([]),
    /** Whether its receiver answers at once, so that it does not wait for those that do not. */
    isQuick: boolean("is_quick").notNull().default(true),
    /** Who works on it, until the time beside it. Without a holder, that is when it was last served. */
    lease: uuid(),
    leaseUntil: timestamp("lease_until", { withTimezone: true, mode: "string" }),
  },
  (table) => [
    uniqueIndex("subscriptions_name_idx").on(table.name),
    uniqueIndex("subscriptions_slot_idx").on(table.slot),
    check("subscriptions_slot_range", sql`${table.slot} between 1 and 100`),
  ],
)

/**
 * The leases of callers whose keys have a limit for a day: the sums of what isolates have leased, which is a
 * little more than what they let through.
 */
export const apiKeyDays = pgTable(
  "api_key_days",
  {
    name: text().notNull(),
    /** In UTC. */
    day: date({ mode: "string" }).notNull(),
    signals: bigint({ mode: "number" }).notNull(),
    bytes: bigint({ mode: "number" }).notNull(),
  },
  (table) => [primaryKey({ columns: [table.day, table.name] })],
)

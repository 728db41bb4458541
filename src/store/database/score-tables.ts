import { sql } from "drizzle-orm"
import {
  bigint,
  check,
  doublePrecision,
  integer,
  pgTable,
  smallint,
  text,
  timestamp,
  unique,
  uuid,
} from "drizzle-orm/pg-core"

/**
 * The scores that came after their signals, each kept as long as its signal; see
 * drizzle/functions/scores.sql. `signals` has the newest values.
 */
export const signalScores = pgTable(
  "signal_scores",
  {
    signalId: bigint("signal_id", { mode: "number" }).notNull(),
    scoredAt: timestamp("scored_at", { withTimezone: true, mode: "string" }).notNull(),
    scorer: text(),
    signalScore: doublePrecision("signal_score"),
    emotionalTone: doublePrecision("emotional_tone"),
    escalateFlag: smallint("escalate_flag"),
    receivedAt: timestamp("received_at", { withTimezone: true, mode: "string" }).notNull().defaultNow(),
    /** The batch that it came with, and its index there. */
    transactionId: uuid("transaction_id").notNull(),
    index: integer().notNull(),
  },
  (table) => [
    // The same score twice is one.
    unique("signal_scores_same")
      .on(
        table.signalId,
        table.scoredAt,
        table.scorer,
        table.signalScore,
        table.emotionalTone,
        table.escalateFlag,
      )
      .nullsNotDistinct(),
    check("signal_scores_scorer_length", sql`char_length(${table.scorer}) between 1 and 255`),
    check("signal_scores_signal_score_range", sql`${table.signalScore} between 0 and 1`),
    check("signal_scores_emotional_tone_range", sql`${table.emotionalTone} between 0 and 1`),
    check("signal_scores_escalate_flag_range", sql`${table.escalateFlag} in (0, 1)`),
  ],
)

/**
 * The scores that came before their signals, which they name by their dedupe keys; see
 * drizzle/functions/scores.sql. A sweep moves each to `signal_scores`, or to the dead letters after a week.
 */
export const waitingScores = pgTable(
  "waiting_scores",
  {
    id: bigint({ mode: "number" }).primaryKey().generatedAlwaysAsIdentity({ name: "waiting_scores_id_seq" }),
    createdAt: timestamp("created_at", { withTimezone: true, mode: "string" }).notNull().defaultNow(),
    caller: text().notNull(),
    /** The batch that it came with, and its index there. */
    transactionId: uuid("transaction_id").notNull(),
    index: integer().notNull(),
    dedupeKey: text("dedupe_key").notNull(),
    scoredAt: timestamp("scored_at", { withTimezone: true, mode: "string" }).notNull(),
    scorer: text(),
    signalScore: doublePrecision("signal_score"),
    emotionalTone: doublePrecision("emotional_tone"),
    escalateFlag: smallint("escalate_flag"),
  },
  (table) => [
    // The same score twice is one.
    unique("waiting_scores_same")
      .on(
        table.dedupeKey,
        table.scoredAt,
        table.scorer,
        table.signalScore,
        table.emotionalTone,
        table.escalateFlag,
      )
      .nullsNotDistinct(),
  ],
)

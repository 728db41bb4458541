import type { SignalRow } from "../../signals/schema.ts"

export type SignalField = Exclude<keyof SignalRow, "index" | "change">

export interface SignalColumn {
  field: SignalField
  column: string
  type: "text" | "timestamptz" | "float8" | "int2" | "jsonb"
}

/**
 * A signal's columns in the order of every statement: the field of the row, the column, its Postgres type.
 */
export const SIGNAL_COLUMNS = [
  { field: "contextWindowId", column: "context_window_id", type: "text" },
  { field: "time", column: "time", type: "timestamptz" },
  { field: "rawContent", column: "raw_content", type: "text" },
  { field: "signalSource", column: "signal_source", type: "text" },
  { field: "signalScore", column: "signal_score", type: "float8" },
  { field: "signalVector", column: "signal_vector", type: "text" },
  { field: "emotionalTone", column: "emotional_tone", type: "float8" },
  { field: "escalateFlag", column: "escalate_flag", type: "int2" },
  { field: "agentId", column: "agent_id", type: "text" },
  { field: "userId", column: "user_id", type: "text" },
  { field: "payload", column: "payload", type: "jsonb" },
  { field: "relationshipContext", column: "relationship_context", type: "text" },
  { field: "diagnosticNotes", column: "diagnostic_notes", type: "text" },
  { field: "dedupeKey", column: "dedupe_key", type: "text" },
] as const satisfies readonly SignalColumn[]

/**
 * A `user_id` with more bytes is in an index by its hash, since a row of a b-tree holds 2,704 bytes. Both
 * indexes are partial, by this length.
 */
export const MAX_INDEXED_BYTES = 1000

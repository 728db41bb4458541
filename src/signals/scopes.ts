/**
 * What a key may do. `ingest`: send signals, and read its own batches. `read`: read everything. `bridge`: send dedupe keys that name
 * what a bridge stores. `admin`: erase.
 */
export const SCOPES = ["ingest", "read", "bridge", "admin"] as const
export type Scope = (typeof SCOPES)[number]

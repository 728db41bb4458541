/**
 * The scopes of a key. `ingest`: send signals, and read its own batches. `read`: read everything. `bridge`:
 * send dedupe keys of the bridges. `admin`: erase.
 */
export const SCOPES = ["ingest", "read", "bridge", "admin"] as const
export type Scope = (typeof SCOPES)[number]

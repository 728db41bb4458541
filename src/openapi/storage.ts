import { StorageRecord } from "../signals/responses.ts"
import { answer, operation } from "./operation.ts"

const STORAGE: StorageRecord = {
  retention_days: 365,
  ledger_retention_days: 90,
  oldest_signal: "2024-02-01T00:00:03.104518Z",
  next_drop: { partition: "signals_0", at: "2025-03-12T17:20:41.000000Z" },
  signal_count: 14_200_000,
  bytes: { signals: 7_340_032_000, batches: 41_943_040, dedupe_keys: 262_144_000, dead_letters: 81_920 },
  partition_count: 2,
  partitions: [
    { name: "signals_0", from_id: null, to_id: 10_000_000, bytes: 6_417_285_120 },
    { name: "signals_10000000", from_id: 10_000_000, to_id: 20_000_000, bytes: 922_746_880 },
  ],
}

export const getStorage = operation({
  id: "getStorage",
  tag: "Storage",
  summary: "The size of the tables, and when the oldest signals are deleted",
  scope: "read",
  answers: { 200: answer("The figures.", StorageRecord, { "a year of signals": STORAGE }) },
})

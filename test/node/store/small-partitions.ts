import { afterAll, beforeAll, beforeEach } from "vitest"
import { connect, type Database } from "../../../src/store/database/connection.ts"
import { type Storage, startStorage } from "../../setup/rig.ts"

export interface SmallPartitions {
  storage: Storage
  /** Connects with the privileges of the service. */
  database(deadlineMs?: number): Database
}

/**
 * Starts a database for this file. Before each test its tables are empty, with partitions of `size` ids and
 * none made ahead.
 */
export function useSmallPartitions(size: number): SmallPartitions {
  const storage = {} as Storage
  let started: Storage | undefined
  beforeAll(async () => {
    started = await startStorage()
    Object.assign(storage, started)
  })
  afterAll(() => started?.stop())
  beforeEach(async () => {
    await storage.query(`create or replace function signal_partition_rows() returns bigint language sql immutable parallel safe
      return ${size}`)
    const partitions = await storage.query<{ name: string }>("select name from signal_partitions")
    if (partitions.length > 0)
      await storage.query(`drop table ${partitions.map(({ name }) => name).join(", ")}`)
    await storage.query("truncate batches, dedupe_keys, dead_letters")
    await storage.query("select setval('signals_id_seq', 1, false)")
  })
  const database = (deadlineMs = 30_000) =>
    connect({
      url: storage.bindings.DATABASE_URL ?? "",
      httpEndpoint: storage.bindings.DATABASE_HTTP_ENDPOINT,
      deadlineMs,
    })
  return { storage, database }
}

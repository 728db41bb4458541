import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, afterEach, beforeAll, beforeEach } from "vitest"
import { type FaultyProxy, startProxy } from "../proxy.ts"
import { type Rig, startRig } from "../rig.ts"

/**
 * Starts a rig before the tests of this file, and stops it after them.
 *
 * @returns the rig, whose properties are set when the first hook or test of the file runs
 */
export function useRig(settings: Record<string, string> = {}): Rig {
  const rig = {} as Rig
  let started: Rig | undefined
  beforeAll(async () => {
    started = await startRig(settings)
    Object.assign(rig, started)
  })
  afterAll(() => started?.stop())
  return rig
}

/** Starts a proxy in front of a rig's service. Each test begins without mishaps and without requests seen. */
export function useProxy(rig: Rig): FaultyProxy {
  const proxy = {} as FaultyProxy
  let started: FaultyProxy | undefined
  beforeAll(async () => {
    started = await startProxy(rig.service.address)
    Object.assign(proxy, started)
  })
  afterAll(() => started?.stop())
  beforeEach(() => {
    proxy.mishaps.length = 0
    proxy.seen.length = 0
  })
  return proxy
}

/** Empties the tables before each test. */
export function useEmptyTables(rig: Rig): void {
  beforeEach(() => rig.query("truncate signals, batches, dedupe_keys, dead_letters"))
}

/**
 * Makes a temporary folder before each test, and removes it afterwards. `path` is that of the present test.
 */
export function useFolder(): { path: string } {
  const folder = { path: "" }
  beforeEach(async () => {
    folder.path = await mkdtemp(join(tmpdir(), "signal-ingest-test-"))
  })
  afterEach(() => rm(folder.path, { recursive: true, force: true }))
  return folder
}

/** The texts of the stored signals as numbers, in ascending order. */
export async function storedNumbers(rig: Rig): Promise<number[]> {
  const rows = await rig.query<{ raw_content: string }>(
    "select raw_content from signals order by raw_content::int",
  )
  return rows.map(({ raw_content }) => Number(raw_content))
}

/** The numbers from 0 to `count` - 1. */
export const upTo = (count: number): number[] => Array.from({ length: count }, (_, index) => index)

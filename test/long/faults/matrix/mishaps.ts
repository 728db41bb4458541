import { isAlive } from "../../../../src/local/machine/processes.ts"
import type { SpoiledAnswer } from "../../../../src/local/neon/endpoint.ts"
import { signalAll } from "../../../setup/processes.ts"
import type { Stand } from "./stand.ts"

/**
 * Something that goes wrong while a sender sends: it begins before the first request, and ends while the
 * sender still tries.
 */
export interface Mishap {
  name: string
  begin(stand: Stand): Promise<void> | void
  /**
   * How long it lasts at most; it ends sooner when the sender is done. An outage is its length, so that is
   * waited for.
   */
  lastsMs: number
  end(stand: Stand): Promise<void> | void
}

/**
 * Longer than the deadline of a request, so that a request fails as a whole and not only an attempt of it.
 */
const OUTAGE_MS = 1500

const ANSWERS = 4

const spoiledAnswers = (name: string, spoiled: SpoiledAnswer): Mishap => ({
  name,
  begin({ storage }) {
    storage.endpoint.faults.spoil = Array.from({ length: ANSWERS }, () => spoiled)
  },
  lastsMs: 5000,
  end({ storage }) {
    storage.endpoint.faults.spoil = []
  },
})

const readOnly = async ({ storage }: Stand, on: boolean) => {
  await storage.query(`alter system set default_transaction_read_only = ${on}`)
  await storage.query("select pg_reload_conf()")
}

export const MISHAPS: Mishap[] = [
  {
    name: "the database's answer is lost",
    begin({ storage }) {
      storage.endpoint.faults.loseAnswers = ANSWERS
    },
    lastsMs: 5000,
    end({ storage }) {
      storage.endpoint.faults.loseAnswers = 0
    },
  },
  spoiledAnswers("the database's answer is cut in its middle", "cut"),
  spoiledAnswers("the database's answer is not JSON", { status: 200, page: "<html>hello</html>" }),
  spoiledAnswers("a proxy's page stands for the database's answer", {
    status: 502,
    page: "<html>bad gateway</html>",
  }),
  {
    name: "the database is killed",
    begin: ({ storage }) => storage.postgres.kill(),
    lastsMs: OUTAGE_MS,
    end: ({ storage }) => storage.postgres.restart(),
  },
  {
    name: "the database is frozen",
    begin: ({ storage }) => signalAll(storage.postgres.pid, "SIGSTOP"),
    lastsMs: OUTAGE_MS,
    end: ({ storage }) => signalAll(storage.postgres.pid, "SIGCONT"),
  },
  {
    name: "the database is read-only",
    begin: (stand) => readOnly(stand, true),
    lastsMs: OUTAGE_MS,
    end: (stand) => readOnly(stand, false),
  },
  {
    name: "the database's disk is full",
    begin: ({ disk }) => disk?.fill(),
    lastsMs: OUTAGE_MS,
    async end({ disk, storage: { postgres } }) {
      await disk?.free()
      // Without room for its log the server ends; whoever operates it starts it again.
      if (!isAlive(postgres.pid)) await postgres.restart()
    },
  },
  {
    name: "a setting is wrong",
    begin: (stand) => stand.restart({ settings: { API_KEYS: "not JSON" } }),
    lastsMs: OUTAGE_MS,
    end: (stand) => stand.restart(),
  },
  {
    name: "the queue fails",
    begin({ queue }) {
      queue.fails = true
    },
    lastsMs: OUTAGE_MS,
    end({ queue }) {
      queue.fails = false
    },
  },
  {
    name: "the bucket fails",
    begin: (stand) => stand.restart({ bucketFails: true }),
    lastsMs: OUTAGE_MS,
    end: (stand) => stand.restart(),
  },
  { name: "the Worker is killed", begin: () => {}, lastsMs: 150, end: (stand) => stand.crash() },
  { name: "the Worker stops in order", begin: () => {}, lastsMs: 150, end: (stand) => stand.restart() },
]

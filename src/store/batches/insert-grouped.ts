import { Group, type GroupLimits } from "../../isolate/group.ts"
import type { SignalRow } from "../../signals/schema.ts"
import type { Database, Traffic } from "../database/connection.ts"
import { DatabaseError } from "../database/errors.ts"
import type { Suppressed } from "../lifecycle/suppression.ts"
import type { Inserted } from "./batch.ts"
import { type BatchWrite, insertMany } from "./insert-many.ts"

/** Larger batches gain nothing, since their rows cost more than the statement. */
const MAX_GROUPED_ROWS = 100

/**
 * One group at a time would not use the time of the round trip; more groups are smaller. Measured at 0 and 5
 * ms of round trip.
 */
const GROUPS_AT_ONCE = 2
const MAX_GROUP_ITEMS = 200
/** The approximate characters of a group's rows. */
const MAX_GROUP_WEIGHT = 1024 * 1024
/** Longer than a healthy database takes. */
const SLOW_GROUP_MS = 250
/** Five full groups. */
const MAX_WAITING = 1000
/** The same as the wait of a statement. */
const MAX_TURN_MS = 1000

const LIMITS: GroupLimits = {
  running: GROUPS_AT_ONCE,
  slowMs: SLOW_GROUP_MS,
  items: MAX_GROUP_ITEMS,
  weight: MAX_GROUP_WEIGHT,
  waiting: MAX_WAITING,
  turnMs: MAX_TURN_MS,
}

/** The groups by the kind of traffic, so that none waits for statements of another kind. */
const groups = new Map<Traffic, Group<BatchWrite, Inserted | Suppressed | "in the ledger">>()

function groupOf(traffic: Traffic) {
  const group = groups.get(traffic) ?? new Group(LIMITS)
  groups.set(traffic, group)
  return group
}

/**
 * Inserts a batch. A small one shares a statement with batches of other requests of this isolate. Each has
 * its own ledger row, ids, keys and answer.
 *
 * @param alone inserts this batch by itself
 * @returns undefined when the ledger already has the batch
 * @throws {DatabaseError} `refused` when the database refused a row of this batch, or of another one in its
 *   group: insert it alone
 */
export async function insertGrouped(
  db: Database,
  write: BatchWrite,
  alone: () => Promise<Inserted | Suppressed | undefined>,
): Promise<Inserted | Suppressed | undefined> {
  const { rows } = write.batch.plan
  if (rows.length > MAX_GROUPED_ROWS) return alone()
  const before = { attempts: db.usage.attempts, at: Date.now() }
  const joining = groupOf(db.traffic).join({
    item: write,
    weight: weightOf(rows),
    answerBy: db.deadlineAt,
    signal: db.usage.attempts === 0 ? db.signal : undefined,
    async run(members) {
      if (members.length === 1) return [(await alone()) ?? "in the ledger"]
      const inserted = await insertMany(db, members)
      return members.map(({ batch }) => inserted.get(batch.transactionId) ?? "in the ledger")
    },
  })
  // The other members need this request's statement, even when its caller disconnects.
  db.keepAlive(joining)
  const joined = await joining.finally(() => noteStatement(db, before))
  if (joined === "no turn") throw new DatabaseError("overloaded", `too many ${db.traffic} in flight`, false)
  if (joined === "no answer") throw new DatabaseError("transient", "no answer from the group", true)
  return joined.result === "in the ledger" ? undefined : joined.result
}

/** Counts a statement that another request sent for this one, which is now a started request. */
function noteStatement({ usage }: Database, before: { attempts: number; at: number }): void {
  if (usage.attempts > before.attempts) return
  usage.attempts++
  usage.ms += Date.now() - before.at
}

/** The characters of a row besides its texts. */
const ROW_WEIGHT = 300

const weightOf = (rows: readonly SignalRow[]) =>
  rows.reduce(
    (sum, { rawContent, payload }) => sum + ROW_WEIGHT + (rawContent?.length ?? 0) + payload.length,
    ROW_WEIGHT,
  )

import type { SignalRow } from "../../signals/plan.ts"
import type { Inserted } from "../batch.ts"
import type { Database, Traffic } from "../connection.ts"
import { DatabaseError } from "../errors.ts"
import type { Suppressed } from "../statement/suppression.ts"
import { Group, type GroupLimits } from "./group.ts"
import { type BatchWrite, insertMany } from "./insert-many.ts"

/** A larger batch gains nothing: its own rows cost more than a statement does. */
const MAX_GROUPED_ROWS = 100

/** One at a time would leave the round trip's time unused; more make smaller groups. Measured at 0 and 5 ms of round trip. */
const GROUPS_AT_ONCE = 2
const MAX_GROUP_ITEMS = 200
/** Characters of its rows, about. */
const MAX_GROUP_WEIGHT = 1024 * 1024
/** A healthy database is faster. */
const SLOW_GROUP_MS = 250
/** Five full groups. Requests whose callers left count until the next group begins. */
const MAX_WAITING = 1000
/** As long as a statement waits to be sent. */
const MAX_TURN_MS = 1000

const LIMITS: GroupLimits = {
  running: GROUPS_AT_ONCE,
  slowMs: SLOW_GROUP_MS,
  items: MAX_GROUP_ITEMS,
  weight: MAX_GROUP_WEIGHT,
  waiting: MAX_WAITING,
  turnMs: MAX_TURN_MS,
}

/** By the kind of traffic, so that none waits for another's statements. */
const groups = new Map<Traffic, Group<BatchWrite, Inserted | Suppressed | "in the ledger">>()

function groupOf(traffic: Traffic) {
  const group = groups.get(traffic) ?? new Group(LIMITS)
  groups.set(traffic, group)
  return group
}

/**
 * Inserts a batch, a small one in one statement with those that other requests of this isolate write at the same time. Each keeps its
 * own ledger row, ids, keys and answer.
 *
 * @param alone inserts this batch by itself
 * @returns undefined when the ledger has the batch already
 * @throws {DatabaseError} `refused` when the database refused a row of this batch, or of another one in its group: try it by itself
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
    async run(members) {
      if (members.length === 1) return [(await alone()) ?? "in the ledger"]
      const inserted = await insertMany(db, members)
      return members.map(({ batch }) => inserted.get(batch.transactionId) ?? "in the ledger")
    },
  })
  // The other members wait for this request's statement, whatever becomes of its caller.
  db.keepAlive(joining)
  const joined = await joining.finally(() => noteStatement(db, before))
  if (joined === "no turn") throw new DatabaseError("overloaded", `too many ${db.traffic} in flight`, false)
  if (joined === "no answer") throw new DatabaseError("transient", "no answer from the group", true)
  return joined.result === "in the ledger" ? undefined : joined.result
}

/** Counts a statement that another request sent for this one: what it has begun it may finish, as if it had sent it. */
function noteStatement({ usage }: Database, before: { attempts: number; at: number }): void {
  if (usage.attempts > before.attempts) return
  usage.attempts++
  usage.ms += Date.now() - before.at
}

/** What a row has beside its texts. */
const ROW_WEIGHT = 300

const weightOf = (rows: readonly SignalRow[]) =>
  rows.reduce((sum, { rawContent, payload }) => sum + ROW_WEIGHT + (rawContent?.length ?? 0) + payload.length, ROW_WEIGHT)

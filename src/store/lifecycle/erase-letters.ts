import { type SQL, sql } from "drizzle-orm"
import type { Database } from "../connection.ts"
import { deadLetters, erasures } from "../schema.ts"
import { advance, HELD, mine, type Place, type Progress, STEP } from "./erase-step.ts"
import type { ErasureTarget } from "./erasures.ts"
import { needlesOf, SLACK_CONVERSATION } from "./needles.ts"

/** Dead letters after a position, `is_hit` if they are about the target. */
const lettersFrom = (position: string, target: ErasureTarget): SQL => sql`
  select *, ${letterMatches(target)} as is_hit from ${deadLetters}
  where id > ${position || "0"}::int8 order by id limit ${STEP.letters}::int4`

/**
 * Whether a dead letter is about the target: its record has the subject as a whole JSON string, also in JSON
 * within a string.
 */
function letterMatches(target: ErasureTarget): SQL {
  if (target.kind === "signal_ids") return sql`false`
  const has = (text: string) =>
    sql`(${sql.join(
      needlesOf(text).map((needle) => sql`strpos(record, ${needle}) > 0`),
      sql` or `,
    )})`
  // A conversation of Slack has a team and a channel, which its events have as separate fields.
  const [, team, channel] =
    (target.kind === "context_window_id" && SLACK_CONVERSATION.exec(target.subject)) || []
  const ofSlack = team && channel ? sql` or (source = 'slack' and ${has(team)} and ${has(channel)})` : sql``
  return sql`(${has(target.subject)}${ofSlack})`
}

/** The step of an erasure that handles the next dead letters. */
export function eraseLetters(place: Place, target: ErasureTarget): SQL {
  const next = target.kind === "signal_ids" ? "bucket" : "ledger"
  // A signal that was erased by its id can come from a dead letter, which still has the record.
  const replayed = sql`replay_transaction_id = any((select transaction_ids from ${erasures} where id = ${place.id}::uuid)::uuid[])`
  return sql`
    with ${mine(place)}, step as materialized (
      select id, ${target.kind === "signal_ids" ? replayed : sql`is_hit and source <> 'queue'`} as is_hit
      from (${lettersFrom(place.position, target)}) as letter where ${HELD}
    ), gone as (
      delete from ${deadLetters} where id = any(array(select id from step where is_hit)) returning id
    )
    ${advance(place, {
      counts: sql`dead_letter_count = dead_letter_count + (select count(*) from gone)`,
      more: sql`(select count(*) from step) = ${STEP.letters}::int4`,
      at: sql`(select max(id)::text from step)`,
      next,
    })}`
}

/** A dead letter that can hold dedupe keys that no stored signal has. */
interface KeyedLetter {
  id: number
  source: "queue" | "signal"
  transactionId: string
  record: string
}

/**
 * The dead letters of the next step that were accepted with dedupe keys: whole messages of the queue, and
 * signals that only the database refused. The records of webhooks broke a rule: they become dead letters
 * again when they are sent again.
 */
export async function keyedLetters(db: Database, { position, target }: Progress): Promise<KeyedLetter[]> {
  if (!target || target.kind === "signal_ids") return []
  const rows = await db.query<Omit<KeyedLetter, "id"> & { id: string }>(
    sql`
      select id, source, transaction_id as "transactionId", record from (${lettersFrom(position, target)}) as letter
      where is_hit and source in ('queue', 'signal')`,
  )
  return rows.map((row) => ({ ...row, id: Number(row.id) }))
}

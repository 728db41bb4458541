import { type SQL, sql } from "drizzle-orm"
import { erasures } from "../schema.ts"
import type { ErasureTarget } from "./erasures.ts"

export type Phase = (typeof erasures.$inferSelect)["phase"]

/** The progress of an erasure. */
export interface Progress {
  id: string
  phase: Phase
  position: string
  createdAt: Date
  /** Undefined when it is done. */
  target: ErasureTarget | undefined
}

/** The rows of each kind that one statement reads or deletes. */
export const STEP = { walked: 20_000, deleted: 5_000, letters: 200, ledger: 5_000 }

export interface Place {
  id: string
  phase: Phase
  position: string
}

/** The erasure at this position, locked. Empty when another process works on it, or has moved on. */
export const mine = ({ id, phase, position }: Place): SQL => sql`
  mine as materialized (
    select id from ${erasures} where id = ${id}::uuid and phase = ${phase} and position = ${position}
    for update skip locked
  )`

/** Only for the process that holds the erasure; others read nothing. */
export const HELD = sql`(select exists (select from mine))`

/** Saves the progress of a step. `more`: whether the phase continues, at `at`. */
export const advance = (
  { id }: Place,
  { counts, more, at, next }: { counts: SQL; more: SQL; at: SQL; next: Phase },
): SQL => sql`
  update ${erasures} set
    ${counts},
    phase = case when ${more} then phase else ${next} end,
    position = case when ${more} then ${at} else '' end
  where id = ${id}::uuid and ${HELD}
  returning id`

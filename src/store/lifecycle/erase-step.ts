import { type SQL, sql } from "drizzle-orm"
import { erasures } from "../schema.ts"
import type { ErasureTarget } from "./erasures.ts"

export type Phase = (typeof erasures.$inferSelect)["phase"]

/** How far an erasure has come. */
export interface Progress {
  id: string
  phase: Phase
  position: string
  createdAt: Date
  /** Undefined once it is done. */
  target: ErasureTarget | undefined
}

/** Rows of each kind that one statement reads or deletes. */
export const STEP = { walked: 20_000, deleted: 5_000, letters: 200, ledger: 5_000 }

export interface Place {
  id: string
  phase: Phase
  position: string
}

/** The erasure at this place, locked: empty when another one works on it, or has gone on. */
export const mine = ({ id, phase, position }: Place): SQL => sql`
  mine as materialized (
    select id from ${erasures} where id = ${id}::uuid and phase = ${phase} and position = ${position}
    for update skip locked
  )`

/** Only for the one that holds the erasure; otherwise nothing is read. */
export const HELD = sql`(select exists (select from mine))`

/** Notes how far a step came. `more`: whether the phase goes on, at `at`. */
export const advance = ({ id }: Place, { counts, more, at, next }: { counts: SQL; more: SQL; at: SQL; next: Phase }): SQL => sql`
  update ${erasures} set
    ${counts},
    phase = case when ${more} then phase else ${next} end,
    position = case when ${more} then ${at} else '' end
  where id = ${id}::uuid and ${HELD}
  returning id`

import { sql } from "drizzle-orm"
import type { Database } from "../database/connection.ts"
import { sweepPositions } from "../database/schema.ts"
import { type AuditPosition, auditPage } from "./pages.ts"
import { AUDIT_PARTS, type AuditPart, type Mismatch } from "./records.ts"

/** The pages of each part that one sample checks, and the rows of a page. */
const PAGES = 5
const PAGE_ROWS = 1000

/** What a sample found. */
export interface Sample {
  checked: number
  mismatchCount: number
  /** The first ones of each page. */
  mismatches: Mismatch[]
}

/**
 * Checks a few pages of each part, starting where the last sample stopped, and from the beginning after the
 * end: so everything is checked in turn.
 *
 * @throws {DatabaseError | ReadTooCostly} the pages before are checked
 */
export async function auditSample(db: Database): Promise<Sample> {
  const sample: Sample = { checked: 0, mismatchCount: 0, mismatches: [] }
  for (const part of AUDIT_PARTS) {
    let after = await readPosition(db, part)
    for (let page = 0; page < PAGES && Date.now() < db.deadlineAt; page++) {
      const audited = await auditPage(db, { part, after }, PAGE_ROWS)
      sample.checked += audited.checked
      sample.mismatchCount += audited.mismatchCount
      sample.mismatches.push(...audited.mismatches)
      after = audited.after ?? ""
      await savePosition(db, { part, after })
      if (audited.after === null) break
    }
  }
  return sample
}

/** Positions are UUIDs. The id of a signal is in the last 12 of its digits. */
const ID_PREFIX = "00000000-0000-0000-0000-"

const nameOf = (part: AuditPart) => `audit_${part}`

async function readPosition(db: Database, part: AuditPart): Promise<string> {
  const [row] = await db.query<{ position: string }>(
    sql`select position from ${sweepPositions} where name = ${nameOf(part)}`,
  )
  if (!row) return ""
  return part === "signals" ? String(Number.parseInt(row.position.slice(ID_PREFIX.length), 16)) : row.position
}

async function savePosition(db: Database, { part, after }: AuditPosition): Promise<void> {
  const position =
    part === "signals" || after === "" ? ID_PREFIX + Number(after).toString(16).padStart(12, "0") : after
  await db.query(sql`
    insert into ${sweepPositions} (name, position) values (${nameOf(part)}, ${position}::uuid)
    on conflict (name) do update set position = excluded.position`)
}

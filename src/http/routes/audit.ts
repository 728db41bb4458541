import { zValidator } from "@hono/zod-validator"
import { Hono } from "hono"
import { auditPage } from "../../store/audit/pages.ts"
import { AUDIT_PARTS, type AuditPage, type AuditPart } from "../../store/audit/records.ts"
import { requireScope } from "../request/auth.ts"
import { type App, noteOutcome } from "../request/context.ts"
import { AuditQuery, refuseShape } from "../request/params.ts"

/** GET /api/audit: compares one page of a table with the others. The cursor leads through all of them. */
export const audit = new Hono<App>().get(
  "/",
  requireScope("admin"),
  zValidator("query", AuditQuery, refuseShape),
  async (c) => {
    const { part: only, limit, cursor } = c.req.valid("query")
    const position = cursor ?? { part: only ?? AUDIT_PARTS[0], after: "" }
    const { part } = position
    const { after, mismatchCount, ...found } = await auditPage(c.get("db"), position, limit)
    const next = only === undefined ? AUDIT_PARTS[AUDIT_PARTS.indexOf(part) + 1] : undefined
    if (mismatchCount > 0) noteOutcome(c, { error: `the audit found ${mismatchCount} mismatches in ${part}` })
    return c.json({
      part,
      ...found,
      mismatch_count: mismatchCount,
      next_cursor: after === null ? startOf(next) : `${part}:${after}`,
    } satisfies AuditPage)
  },
)

const startOf = (part: AuditPart | undefined): string | null => {
  if (part === undefined) return null
  return part === "signals" ? "signals:0" : `${part}:00000000-0000-0000-0000-000000000000`
}

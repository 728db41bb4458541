import * as z from "zod"
import { failureAt } from "./failures.ts"
import type { BatchPlan } from "./plan.ts"
import type { Failure } from "./responses.ts"
import { isLongerThan, MAX_ID_CHARACTERS, textViolation } from "./rules.ts"
import type { SignalRow } from "./schema.ts"
import { validationIssue } from "./shape-errors.ts"

/** The fields of a signal that can hold the subject of an erasure. */
export const SUBJECT_FIELDS = ["user_id", "agent_id", "context_window_id"] as const
export type SubjectField = (typeof SUBJECT_FIELDS)[number]
export type Subjects = Partial<Record<SubjectField, string>>

/** The failure of a suppressed signal. It does not quote the subject. */
const suppressedFailure = (index: number, field: SubjectField): Failure =>
  failureAt(index, {
    field,
    code: "suppressed",
    message: `${field} is suppressed: it was erased on request, and its signals are refused`,
  })

/**
 * Removes the rows of suppressed subjects from a plan, and adds failures for them.
 *
 * @param fields the suppressed field, by the index of its row in the plan, from 0
 */
export function withoutSuppressed(plan: BatchPlan, fields: ReadonlyMap<number, SubjectField>): BatchPlan {
  const failures = [...plan.failures]
  const rows: SignalRow[] = []
  for (const [index, row] of plan.rows.entries()) {
    const field = fields.get(index)
    if (field === undefined) rows.push(row)
    else failures.push(suppressedFailure(row.index, field))
  }
  failures.sort((a, b) => a.index - b.index)
  return { total: plan.total, rows, failures }
}

const MAX_ERASED_IDS = 1000

/** Text to compare with a stored id or name. It follows the rules of stored text, as Postgres requires. */
export const ComparedText = z
  .string()
  .min(1)
  .refine(
    (value) => !isLongerThan(value, MAX_ID_CHARACTERS),
    validationIssue("string_too_long", `String should have at most ${MAX_ID_CHARACTERS} characters`),
  )
  .superRefine((value, context) => {
    const violation = textViolation(value)
    if (violation) context.addIssue(validationIssue("value_error", `Value error, this ${violation}`))
  })
  .meta({ maxLength: MAX_ID_CHARACTERS })

/** The subject of an erasure: exactly one of four fields. */
export const ErasureRequest = z
  .strictObject({
    user_id: ComparedText.nullish().meta({ description: "Every signal of this user." }),
    agent_id: ComparedText.nullish().meta({ description: "Every signal of this agent." }),
    context_window_id: ComparedText.nullish().meta({ description: "Every signal of this conversation." }),
    signal_ids: z
      .array(z.int().min(1).max(Number.MAX_SAFE_INTEGER))
      .min(1)
      .max(MAX_ERASED_IDS)
      .nullish()
      .meta({ description: "The signals with these ids." }),
    suppress: z.boolean().nullish().meta({
      description:
        "true: also refuse later signals of the user, agent or conversation. Default: false. It has no effect with `signal_ids`, whose dedupe keys stay taken in any case.",
    }),
  })
  .superRefine((request, context) => {
    const named = [...SUBJECT_FIELDS, "signal_ids" as const].filter((name) => request[name] != null)
    if (named.length !== 1)
      context.addIssue(
        validationIssue(
          "value_error",
          "Value error, give one of user_id, agent_id, context_window_id and signal_ids",
        ),
      )
  })
  .meta({ id: "ErasureRequest" })
export type ErasureRequest = z.infer<typeof ErasureRequest>

const instant = z.iso
  .datetime()
  .meta({ description: "UTC, microseconds.", example: "2025-01-15T09:30:00.000000Z" })

export const ErasureRecord = z
  .object({
    id: z.uuid(),
    state: z.enum(["running", "done"]),
    created_at: instant,
    finished_at: instant.nullable(),
    requested_by: z.string().meta({ description: "Name of the key that requested it." }),
    kind: z.enum([...SUBJECT_FIELDS, "signal_ids"]),
    subject_hash: z.string().meta({
      description:
        "The first 16 bytes of the SHA-256 of kind, colon and subject, in hexadecimal digits. Ids are joined by commas, in ascending order.",
    }),
    suppress: z.boolean(),
    erased: z
      .object({
        signals: z.int(),
        dead_letters: z.int(),
        ledger_texts: z
          .int()
          .meta({ description: "Batches in the ledger with a text that quoted the subject." }),
        waiting_records: z.int().meta({ description: "Records in the bucket that waited for the database." }),
      })
      .meta({ description: "The counts of removed records so far." }),
  })
  .meta({ id: "Erasure" })
/** The record of an erasure, while it runs and as proof afterwards. */
export type ErasureRecord = z.infer<typeof ErasureRecord>

export const ErasurePage = z.object({
  erasures: z.array(ErasureRecord),
  next_cursor: z
    .string()
    .nullable()
    .meta({ description: "Pass it as `cursor` for the next page; null on the last." }),
})

/** The nesting of JSON in strings of JSON: a record in a message that became a dead letter's record. */
const LEVELS = 4

/**
 * Whether `json` has `text` as a whole string, also in JSON within a string. Without it, no field has the
 * text; with it, a field or a name may have it.
 */
export function mentions(json: string, text: string): boolean {
  let needle = JSON.stringify(text)
  for (let level = 0; level < LEVELS; level++) {
    if (json.includes(needle)) return true
    needle = JSON.stringify(needle).slice(1, -1)
  }
  return false
}

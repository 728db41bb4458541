import * as z from "zod"
import { SCOPES } from "../signals/rules.ts"
import { validationIssue } from "../signals/shape-errors.ts"
import { ANONYMOUS_NAME, KEY_NAME } from "./form.ts"

const scopes = z
  .array(z.enum(SCOPES))
  .min(1)
  .max(SCOPES.length)
  .transform((names) => [...new Set(names)])
  .meta({ override: { type: "array", items: { type: "string", enum: [...SCOPES] }, minItems: 1 } })

const time = z.iso
  .datetime({ offset: true })
  .transform((text) => new Date(text).toISOString())
  .meta({ override: { type: "string", format: "date-time" } })

const amount = (description: string) =>
  z.int().min(1).max(Number.MAX_SAFE_INTEGER).nullish().meta({ description })

const LIMITS = {
  signals_per_day: amount("The signals that the caller may send in a day, about. Default: no limit."),
  bytes_per_day: amount("The bytes, decoded, that the caller may send in a day, about. Default: no limit."),
}

/** The body of `PATCH /api/keys/{key_id}`. */
export const KeyLimits = z.strictObject(LIMITS).meta({ id: "KeyLimits" })

/** The body of `POST /api/keys`. */
export const NewKey = z
  .strictObject({
    name: z
      .string()
      .regex(KEY_NAME)
      .refine(
        (name) => name !== ANONYMOUS_NAME,
        validationIssue(
          "value_error",
          `Value error, "${ANONYMOUS_NAME}" is the name of callers without a key`,
        ),
      )
      .meta({ description: "The caller: 1 to 100 letters, digits or any of `. _ @ -`. It cannot change." }),
    scopes: scopes.meta({ description: "What the key may do; only what the key of this request may do." }),
    expires_at: time.nullish().meta({ description: "When the key ends by itself. Default: never." }),
    ...LIMITS,
  })
  .meta({ id: "NewKey" })

/** The body of `POST /api/keys/{key_id}/rotate`. */
export const Rotation = z
  .strictObject({
    expires_at: time.nullish().meta({ description: "When the new key ends by itself. Default: never." }),
    former_expires_at: time.nullish().meta({
      description: "When the former key ends. Default: it stays valid until it is revoked.",
    }),
  })
  .meta({ id: "Rotation" })

const instant = z.iso
  .datetime()
  .meta({ description: "UTC, microseconds.", example: "2025-01-15T09:30:00.000000Z" })

const KEY_FIELDS = {
  id: z.uuid(),
  name: z.string().meta({ description: "The caller. Keys of one name are one caller." }),
  hint: z.string().meta({ description: "The beginning of the key." }),
  state: z.enum(["active", "expired", "revoked"]),
  scopes: z.array(z.enum(SCOPES)),
  created_at: instant,
  created_by: z.string().meta({ description: "Name of the key that made it." }),
  expires_at: instant.nullable(),
  revoked_at: instant.nullable(),
  revoked_by: z.string().nullable().meta({ description: "Name of the key that revoked it." }),
  rotated_from: z.uuid().nullable().meta({ description: "The key that this one was made to replace." }),
  last_used_on: z.iso
    .date()
    .nullable()
    .meta({ description: "The last day in UTC on which a request had the key." }),
  limits: z
    .object({ signals_per_day: z.int().nullable(), bytes_per_day: z.int().nullable() })
    .meta({ description: "Of the caller; null: no limit." }),
}

/** A key that was made at run time, without the key itself. */
export const KeyRecord = z.object(KEY_FIELDS).meta({ id: "Key" })
export type KeyRecord = z.infer<typeof KeyRecord>

/** The answer that shows a new key, which no other answer does. */
export const MadeKey = z
  .object({ ...KEY_FIELDS, key: z.string().meta({ description: "The key itself, shown only here." }) })
  .meta({ id: "MadeKey" })

export const KeyPage = z.object({
  keys: z.array(KeyRecord),
  next_cursor: z
    .string()
    .nullable()
    .meta({ description: "Pass it as `cursor` for the next page; null on the last." }),
})

/** What a caller sent, by the ledger. */
export const KeyUsage = z
  .object({
    name: z.string(),
    days: z.array(
      z.object({
        day: z.iso.date().meta({ description: "In UTC." }),
        batches: z.int(),
        signals: z.int().meta({ description: "All that were sent, failed ones included." }),
        failed_signals: z.int(),
      }),
    ),
  })
  .meta({ id: "KeyUsage" })
export type KeyUsage = z.infer<typeof KeyUsage>

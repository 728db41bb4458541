import * as z from "zod"

/** The tables that an audit walks, in this order. */
export const AUDIT_PARTS = ["signals", "batches", "keys"] as const
export type AuditPart = (typeof AUDIT_PARTS)[number]

/** What the ledger, the signals and the dedupe keys can disagree about. The docs list the same. */
export const MISMATCHES = {
  signal_without_batch: "a signal whose batch is not in the ledger, or failed as a whole",
  signal_outside_batch: "a signal whose id is outside the ids of its batch",
  signal_without_key: "a signal whose dedupe key is not taken by it",
  batch_counts: "a batch whose ids and failures do not add up to its counts",
  batch_ids: "a batch whose ids do not ascend, or are outside its first and last id",
  batch_rows: "a batch with signals under ids that the ledger does not have for it",
  key_of_another_signal: "a dedupe key that names a stored signal without this key",
} as const
export type MismatchKind = keyof typeof MISMATCHES

const KINDS = Object.keys(MISMATCHES) as [MismatchKind, ...MismatchKind[]]

/** The most mismatches of one page that are listed; all are counted. */
export const LISTED_MISMATCHES = 100

export const Mismatch = z.object({
  kind: z.enum(KINDS),
  transaction_id: z.uuid().nullable(),
  signal_id: z.int().nullable(),
})
export type Mismatch = z.infer<typeof Mismatch>

/** One page of an audit. */
export const AuditPage = z
  .object({
    part: z.enum(AUDIT_PARTS),
    checked: z.int().meta({ description: "Rows of this part that were checked." }),
    absent: z.int().meta({
      description:
        "Of `batches`: ids without a signal. It was a duplicate, was deleted by age, erased, or deleted in Slack: no mismatch.",
    }),
    mismatch_count: z.int(),
    mismatches: z.array(Mismatch).meta({ description: `The first ${LISTED_MISMATCHES} of them.` }),
    next_cursor: z
      .string()
      .nullable()
      .meta({ description: "Pass it as `cursor` for the next page; null at the end of the last part." }),
  })
  .meta({ id: "AuditPage" })
export type AuditPage = z.infer<typeof AuditPage>

import * as z from "zod"
import { validationIssue } from "../../signals/shape-errors.ts"
import type { FeedPosition } from "../../store/signals/feed.ts"
import { digits, limit } from "../params.ts"

/** The longest time that a reader can wait for the next signal. */
export const MAX_WAIT_SECONDS = 30

/** The version of the cursor's parts. */
const VERSION = 1

const LARGEST_XID = 2n ** 64n - 1n

const Parts = z
  .tuple([
    z.literal(VERSION),
    z.string().refine((text) => /^\d{1,20}$/.test(text) && BigInt(text) <= LARGEST_XID),
    z.guid(),
    z.int().min(0).nullable(),
  ])
  .transform(([, xid, transactionId, id]): FeedPosition => ({ xid, transactionId, id }))

/** A cursor is opaque to readers: base64url of the JSON of its version and its position. */
export function encodeFeedCursor({ xid, transactionId, id }: FeedPosition): string {
  const text = JSON.stringify([VERSION, xid, transactionId, id])
  return new TextEncoder().encode(text).toBase64({ alphabet: "base64url", omitPadding: true })
}

const FeedCursor = z.string().transform((text, context): FeedPosition | "now" => {
  if (text === "now") return text
  try {
    const parts: unknown = JSON.parse(
      new TextDecoder().decode(Uint8Array.fromBase64(text, { alphabet: "base64url" })),
    )
    return Parts.parse(parts)
  } catch {
    context.addIssue(
      validationIssue("value_error", "Value error, this is not a feed cursor of this version of the service"),
    )
    return z.NEVER
  }
})

export const FeedQuery = z.object({
  after: FeedCursor.optional().meta({
    description:
      "`next_cursor` of the last page. Without it the feed starts at the oldest signal; `now` starts after the newest.",
    override: { type: "string" },
  }),
  limit: limit(100),
  wait: digits
    .pipe(z.int().min(0).max(MAX_WAIT_SECONDS))
    .default(0)
    .meta({
      description: "Seconds to wait for a signal when there is none.",
      override: { type: "integer", minimum: 0, maximum: MAX_WAIT_SECONDS, default: 0 },
    }),
})

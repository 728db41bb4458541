import type { FailureCode } from "../signals/failures/codes.ts"
import type { Change } from "../signals/plan.ts"

/** What a bridge makes of one thing that was delivered to it. */
export type Delivered =
  /** As it would stand in a batch; judged there as any other signal. */
  | { signal: Record<string, unknown>; change?: Change }
  /** Acknowledged and not stored, by the name of its kind, such as `message_changed`. */
  | { skipped: string }
  /** Can never become a signal: one sentence that says why. The code is `unreadable_record` where it names none. */
  | { refused: string; code?: FailureCode; field?: string | undefined }

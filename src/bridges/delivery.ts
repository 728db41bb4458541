import type { FailureCode } from "../signals/failures/codes.ts"
import type { Change } from "../signals/schema.ts"

/** The result of a bridge for one record or event. */
export type Delivered =
  /** A signal as a batch has it. It is not validated yet. */
  | { signal: Record<string, unknown>; change?: Change }
  /** The kind of a record that is acknowledged and not stored, such as `message_changed`. */
  | { skipped: string }
  /**
   * One sentence that says why the record can never become a signal. The default code is `unreadable_record`.
   * `about` has the subjects of the record as far as they are known, in the fields of a signal.
   */
  | { refused: string; code?: FailureCode; field?: string | undefined; about?: Record<string, unknown> }

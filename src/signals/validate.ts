import * as z from "zod"
import { Rejected, shapeViolation } from "./failures/violation.ts"
import { BatchFields, Signal } from "./schema.ts"
import { MAX_ERRORS, moreErrors, type ShapeError, shapeErrors } from "./shape-errors.ts"

/**
 * Compiled where the module loads, since Workers allow code from text only there: `safeParse` then costs a tenth. Each signal is
 * validated alone, because zod gathers every issue of what it validates, and 100,000 of them overflow its stack.
 */
const ValidSignal = z.compile(Signal)
const Envelope = z.compile(z.looseObject({ ...BatchFields, signals: z.array(z.unknown()) }))

/** A batch of the right shape. */
export interface ValidBatch {
  /** `Rejected` only where `lenient` was applied. */
  signals: (Signal | Rejected)[]
  failOnError: boolean
  lenient: boolean
}

export interface Validation {
  /** Whether all or nothing is asked for where the body does not say. */
  failOnError: boolean
  /** Asks for a signal of the wrong shape to fail alone. All or nothing has no use for that. */
  lenient: boolean
}

export const validateSignal = (value: unknown) => ValidSignal.safeParse(value)

/** The signal that `value` is, or the first of its validation errors. */
export function signalOrRejected(value: unknown): Signal | Rejected {
  const result = ValidSignal.safeParse(value)
  if (result.success) return result.data
  const [error] = shapeErrors(result.error.issues, value, [])
  return new Rejected(error ? shapeViolation(error) : { code: "wrong_type", message: "not a signal" })
}

/**
 * The batch that `value` is, or the first 100 validation errors, and then one entry that says that there are more.
 *
 * @param value its signals may be `Rejected` already, as lines of NDJSON are
 */
export function validateBatch(value: unknown, { failOnError, lenient }: Validation): ValidBatch | ShapeError[] {
  const envelope = Envelope.safeParse(value)
  const allOrNothing = (envelope.success ? envelope.data.fail_on_error : undefined) ?? failOnError
  if (envelope.success && lenient && !allOrNothing) {
    const signals = envelope.data.signals.map((one) => (one instanceof Rejected ? one : signalOrRejected(one)))
    return { signals, failOnError: false, lenient: true }
  }
  const errors = envelope.success ? [] : shapeErrors(envelope.error.issues, value, ["body"])
  const sent = (value as { signals?: unknown } | null)?.signals
  const signals: Signal[] = []
  const signalErrors: ShapeError[] = []
  if (Array.isArray(sent))
    for (const [index, one] of sent.entries()) {
      const result = ValidSignal.safeParse(one)
      if (result.success) signals.push(result.data)
      else signalErrors.push(...shapeErrors(result.error.issues, one, ["body", "signals", index]))
      if (signalErrors.length > MAX_ERRORS) break
    }
  const all = [...signalErrors, ...errors]
  if (all.length > MAX_ERRORS) return [...all.slice(0, MAX_ERRORS), moreErrors(["body"])]
  if (!envelope.success || all.length > 0) return all
  return { signals, failOnError: allOrNothing, lenient: false }
}

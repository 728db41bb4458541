import * as z from "zod"
import { Rejected, shapeViolation } from "./failures.ts"
import { BatchFields, Signal } from "./schema.ts"
import { MAX_ERRORS, moreErrors, type ShapeError, shapeErrors } from "./shape-errors.ts"

/**
 * The schema is compiled when the module loads, because Workers allow code generation only then; `safeParse`
 * takes a tenth of the time. Each signal is validated alone, because zod collects all issues of a value, and
 * 100,000 of them overflow its stack.
 */
const ValidSignal = z.compile(Signal)
const Envelope = z.compile(z.looseObject({ ...BatchFields, signals: z.array(z.unknown()) }))

/** A batch with a valid shape. */
export interface ValidBatch {
  /** `Rejected` only where `lenient` was applied. */
  signals: (Signal | Rejected)[]
  failOnError: boolean
  lenient: boolean
}

export interface Validation {
  /** The value of `fail_on_error` when the body has none. */
  failOnError: boolean
  /** Whether a signal of the wrong shape fails alone. It has no effect with all or nothing. */
  lenient: boolean
}

export const validateSignal = (value: unknown) => ValidSignal.safeParse(value)

/** Validates a signal. Returns it, or the first of its validation errors. */
export function signalOrRejected(value: unknown): Signal | Rejected {
  const result = ValidSignal.safeParse(value)
  if (result.success) return result.data
  const [error] = shapeErrors(result.error.issues, value, [])
  return new Rejected(error ? shapeViolation(error) : { code: "wrong_type", message: "not a signal" })
}

/**
 * Validates a batch. Returns it, or the first 100 validation errors and one entry that says that there are
 * more.
 *
 * @param value its signals can already be `Rejected`: lines of NDJSON that are not JSON
 */
export function validateBatch(
  value: unknown,
  { failOnError, lenient }: Validation,
): ValidBatch | ShapeError[] {
  const envelope = Envelope.safeParse(value)
  const allOrNothing = (envelope.success ? envelope.data.fail_on_error : undefined) ?? failOnError
  if (envelope.success && lenient && !allOrNothing) {
    const signals = envelope.data.signals.map((one) =>
      one instanceof Rejected ? one : signalOrRejected(one),
    )
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

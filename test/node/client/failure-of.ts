import type { SignalError } from "../../../src/client/index.ts"

/** The error of a call that must fail. */
export const failureOf = (promise: Promise<unknown>): Promise<SignalError> =>
  promise.then(
    () => {
      throw new Error("the call did not fail")
    },
    (error) => error,
  )

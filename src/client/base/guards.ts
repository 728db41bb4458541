/** The longest time of a timer: with a longer one, the runtimes fire at once. */
export const MAX_TIMER_MS = 2 ** 31 - 1

/**
 * Checks that an option is a whole number in its range.
 *
 * @throws {RangeError} it is not; the message names the option and the range
 */
export function checkRange(name: string, value: number, min: number, max: number): number {
  if (Number.isInteger(value) && value >= min && value <= max) return value
  throw new RangeError(`${name} must be a whole number from ${min} to ${max}; it is ${value}.`)
}

/** Bytes of a text in UTF-8. */
export const utf8Bytes = (text: string): number => new TextEncoder().encode(text).length

/** Runs a caller's callback. An error of the callback goes to the console and does not stop the library. */
export function callSafely(callback: () => void): void {
  try {
    callback()
  } catch (error) {
    console.error(error)
  }
}

/** Runs a caller's callback. One that throws must not stop what the library does. */
export function callSafely(callback: () => void): void {
  try {
    callback()
  } catch (error) {
    console.error(error)
  }
}

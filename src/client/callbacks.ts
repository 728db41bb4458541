/** Runs a caller's callback. An error of the callback goes to the console and does not stop the library. */
export function callSafely(callback: () => void): void {
  try {
    callback()
  } catch (error) {
    console.error(error)
  }
}

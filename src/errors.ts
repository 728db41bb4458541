/**
 * An error of the service itself. Its message holds no text of a sender, no SQL, no key and no address, so
 * that it may be logged.
 */
export class LoggableError extends Error {}

/**
 * The text of an error for the log, the only way from an error to it. Of any other error only its name and
 * the line of code are safe: the runtime quotes input in its messages, such as a `SyntaxError` the JSON.
 */
export function errorForLog(error: unknown): string {
  if (!(error instanceof Error)) return `unexpected ${typeof error}`
  if (error.cause instanceof LoggableError) return error.cause.message
  if (error instanceof LoggableError) return error.message
  const thrownAt = error.stack?.split("\n").find((line) => line.trimStart().startsWith("at "))
  return `unexpected ${error.name} ${thrownAt?.trim() ?? ""}`.trimEnd()
}

/**
 * The text of an error that a call of Cloudflare's queues, buckets or datasets threw. Theirs are plain
 * `Error`s with a message of Cloudflare's, such as "Too Many Requests".
 */
export const platformErrorForLog = (error: unknown): string =>
  error instanceof Error && error.constructor === Error ? error.message : errorForLog(error)

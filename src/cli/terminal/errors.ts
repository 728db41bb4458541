import { SignalError, UnauthorizedError, ValidationError } from "../../client/index.ts"

/** The command line or its source is wrong. The message is for the user at the terminal. */
export class UsageError extends Error {}

/** The work cannot go on: a damaged file, a lost connection. The message says what to do. */
export class GaveUpError extends Error {}

/** The exit codes, for scripts. */
export const EXIT = {
  done: 0,
  /** Done, and some records failed: the failures file or the output has them. */
  someFailed: 1,
  usage: 2,
  /** The service does not answer, or refuses. The progress is saved: the same command continues. */
  gaveUp: 3,
  /** Stopped by Ctrl-C. The progress is saved. */
  stopped: 130,
  /** Stopped by SIGTERM. The progress is saved. */
  terminated: 143,
} as const

/**
 * The message of an error. For an answer of the service it includes the request id, by which the service's
 * log can be searched.
 */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const reason = isDiskFull(error) ? `the disk is full (${error.message}). Make room.` : error.message
  if (!(error instanceof SignalError)) return reason
  const hint =
    error instanceof UnauthorizedError && error.status === 401 ? " Put it into SIGNAL_INGEST_KEY." : ""
  return `${reason}${hint}${error.requestId === undefined ? "" : ` (request ${error.requestId})`}`
}

const isDiskFull = (error: Error) => "code" in error && (error.code === "ENOSPC" || error.code === "EDQUOT")

/** Whether an error comes from outside: the service, a source, the file system. Any other is a bug. */
export const isExpected = (error: unknown): error is Error =>
  error instanceof SignalError ||
  error instanceof GaveUpError ||
  // Node's errors of files and sockets; the message names the file.
  (error instanceof Error && "syscall" in error)

/**
 * The error that a user sees for a request whose parameters the service refused: the command line is wrong.
 * Returns any other error unchanged.
 */
export function asUsageError(error: unknown): unknown {
  if (!(error instanceof ValidationError) || error.code === "read_too_costly") return error
  return error.errors.some(({ loc, type }) => loc[0] === "query" && type !== "read_too_costly")
    ? new UsageError(`${error.message}.`)
    : error
}

/**
 * Turns a parser's error into a sentence that also says what to do.
 *
 * @param message such as `error: unknown command 'imprt'\n(Did you mean import?)`
 * @param path the words that call the command, such as `signals import`
 */
export function usageSentence(message: string, path: string): string {
  const [first = "", suggestion] = message.replace(/^error: /, "").split("\n")
  const sentence = first
    .replaceAll("'", '"')
    .replace("command-argument value", "argument")
    .replace(/^./, (letter) => letter.toUpperCase())
  const meant = /Did you mean (?:one of )?([^?]+)\?/.exec(suggestion ?? "")?.[1]
  const hint = meant === undefined ? "" : ` Did you mean "${meant.split(", ").join('" or "')}"?`
  const list = /^unknown command/.test(first) ? "for the list" : "for its options"
  return `${sentence}${/[.!?]$/.test(sentence) ? "" : "."}${hint} Run "${path} --help" ${list}.`
}

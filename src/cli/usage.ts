import { SignalError } from "../client/index.ts"

/** The command line or its source is wrong. The message is for the user at the terminal. */
export class UsageError extends Error {}

/** The exit codes, for scripts. */
export const EXIT = {
  done: 0,
  /** Done, and some records failed: the failures file has them. */
  someFailed: 1,
  usage: 2,
  /** The service does not answer, or refuses. The progress is saved: the same command continues. */
  gaveUp: 3,
  /** Stopped by Ctrl-C. The progress is saved. */
  stopped: 130,
} as const

/**
 * The message of an error. For an answer of the service it includes the request id, by which the service's
 * log can be searched.
 */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const id = error instanceof SignalError ? error.requestId : undefined
  return id === undefined ? error.message : `${error.message} (request ${id})`
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

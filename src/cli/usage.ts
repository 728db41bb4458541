/** The command cannot run as it was given. The message is for the person at the terminal. */
export class UsageError extends Error {}

/** What scripts read from the exit code. */
export const EXIT = {
  done: 0,
  /** Done, and some records failed: the failures file has them. */
  someFailed: 1,
  usage: 2,
  /** The service cannot be reached, or refuses for good. The state of the work is saved: the same command continues. */
  gaveUp: 3,
  /** Stopped by Ctrl-C; the state is saved as well. */
  stopped: 130,
} as const

/**
 * One sentence of a parser's error, with what to do about it.
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

/** The command can't be carried out as it was given. The message is for the person at the terminal. */
export class UsageError extends Error {}

/** What scripts can tell from the exit code. */
export const EXIT = {
  done: 0,
  /** Carried out, and some records were not stored: the failures file has them. */
  someFailed: 1,
  usage: 2,
  /** The service could not be reached, or refused for good. What was done is noted: the same command goes on. */
  gaveUp: 3,
  /** Stopped by Ctrl-C, noted as well. */
  stopped: 130,
} as const

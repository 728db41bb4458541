/** A local part did not start. The message is one sentence for the user at the terminal. */
export class StartupError extends Error {}

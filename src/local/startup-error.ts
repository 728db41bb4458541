/** Why something local can't be started, as one sentence for the person at the terminal. */
export class StartupError extends Error {}

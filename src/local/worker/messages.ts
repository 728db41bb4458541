import type { SettingTexts } from "../../config.ts"

/**
 * How long a stop waits for what is under way: longer than the queue waits to fill a batch, and short enough
 * for a user who waits.
 */
export const DRAIN_MS = 10_000

/** How long the Worker's process may then take to end, before it is killed. */
export const END_MS = 5000

/**
 * The settings of the Worker's process. They are sent as a message, since every user of the machine can see a
 * command line.
 */
export interface WorkerSettings {
  /** Path of wrangler.toml. */
  config: string
  /** Path of the Worker's main module. */
  entrypoint: string
  host: string
  port: number
  /** The folder where wrangler keeps the data of its local bindings. */
  stateDir: string
  /** The text bindings of the Worker. */
  variables: SettingTexts & Record<"LOCAL_TOKEN" | "LOCAL_HOSTS", string>
  /** The Postgres server that must stop when `npm start` is killed. */
  postgresPid: number | undefined
}

export type ToWorker = { kind: "start"; settings: WorkerSettings } | { kind: "stop" }

/**
 * The work left when the Worker stops: requests without an answer, and messages that the next start sends
 * again.
 */
export interface Left {
  requests: number
  messages: number
}

export type FromWorker =
  /** `resumed`: the Worker runs, and its queue has the messages of the last run. */
  | { kind: "resumed" }
  | { kind: "failed" }
  | { kind: "drained"; left: Left }
  | { kind: "log"; level: string; message: string }

import type { Environment } from "../environment.ts"

/** The settings of the Worker's process. They are sent as a message, since every user of the machine can see a command line. */
export interface WorkerSettings {
  /** Path of wrangler.toml. */
  config: string
  /** Path of the Worker's main module. */
  entrypoint: string
  host: string
  port: number
  /** Where wrangler keeps what its local bindings store. */
  stateDir: string
  /** The text bindings of the Worker. */
  variables: Environment & Record<"LOCAL_TOKEN" | "LOCAL_HOSTS", string>
  /** The server that is stopped, too, when `npm start` is killed. */
  postgresPid: number | undefined
}

export type ToWorker = { kind: "start"; settings: WorkerSettings } | { kind: "stop" }

/** The work left when the Worker stops: requests without an answer, and messages that the next start sends again. */
export interface Left {
  requests: number
  messages: number
}

export type FromWorker =
  /** It runs, and its queue holds what it held before. */
  { kind: "resumed" } | { kind: "failed" } | { kind: "drained"; left: Left } | { kind: "log"; level: string; message: string }

import type { Environment } from "../environment.ts"

/** What the Worker's process needs to know. It travels between processes, since everybody can see a command line or a file's name. */
export interface WorkerSettings {
  /** Path of wrangler.toml. */
  config: string
  /** Path of the Worker's main module. */
  entrypoint: string
  host: string
  port: number
  /** Where wrangler keeps what its local bindings store. */
  stateDir: string
  /** What the Worker's code finds in its environment as text. */
  variables: Environment & Record<"LOCAL_TOKEN" | "LOCAL_HOSTS", string>
  /** The server that is stopped, too, when `npm start` is killed. */
  postgresPid: number | undefined
}

export type ToWorker = { kind: "start"; settings: WorkerSettings } | { kind: "stop" }

/** What is left when the Worker stops: requests without an answer, and messages that the next start brings back. */
export interface Left {
  requests: number
  messages: number
}

export type FromWorker =
  /** It runs, and its queue holds what it held before. */
  { kind: "resumed" } | { kind: "failed" } | { kind: "drained"; left: Left } | { kind: "log"; level: string; message: string }

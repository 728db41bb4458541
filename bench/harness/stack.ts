import { type ChildProcess, fork } from "node:child_process"
import { once } from "node:events"
import type { LocalPostgres } from "../../src/local/postgres/postgres.ts"
import {
  type Bundle,
  type BundleOptions,
  buildBundle,
  type RunningBundle,
  runBundle,
} from "../../test/setup/workerd.ts"
import { startDatabase } from "./database.ts"

/** All parts that handle a request, each in a separate process. */
export interface Stack {
  postgres: LocalPostgres
  endpoint: Endpoint
  bundle: Bundle
  worker: RunningBundle
  /** Starts another workerd with the same bundle, whose database is at `endpointUrl`. The caller stops it. */
  startWorker(endpointUrl: string, options?: BundleOptions): Promise<RunningBundle>
  stop(): Promise<void>
}

interface Endpoint {
  url: string
  pid: number
  /** Adds this latency to every later answer of the endpoint. */
  setLatency(latencyMs: number): Promise<void>
}

/** Starts Postgres, the endpoint and the built Worker. When one does not start, stops those that run. */
export async function startStack(): Promise<Stack> {
  const stops: (() => Promise<void>)[] = []
  const stop = async () => {
    for (const one of stops.splice(0).reverse()) await one()
  }
  try {
    const bundle = await buildBundle()
    stops.push(bundle.remove)
    const postgres = await startDatabase()
    stops.push(postgres.stop)
    const child = fork(new URL("endpoint.ts", import.meta.url))
    stops.push(() => end(child))
    const [url] = (await once(child, "message")) as [string]
    const startWorker = (endpointUrl: string, options?: BundleOptions) =>
      runBundle(
        bundle,
        { DATABASE_URL: postgres.url, DATABASE_HTTP_ENDPOINT: endpointUrl, OPEN_ACCESS: "true" },
        options,
      )
    const worker = await startWorker(url)
    stops.push(worker.stop)
    const setLatency = async (latencyMs: number) => {
      child.send({ latencyMs })
      await once(child, "message")
    }
    return { postgres, endpoint: { url, pid: child.pid ?? 0, setLatency }, bundle, worker, startWorker, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (!child.connected) return
  child.disconnect()
  await once(child, "exit")
}

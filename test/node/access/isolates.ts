import { readFile } from "node:fs/promises"
import { dirname, join } from "node:path"
import { convertV4MiniflareOptions, Miniflare } from "miniflare"
import type { Bundle } from "../../setup/workerd.ts"

/** A Worker of its own, which shares only the database and the bucket with the others. */
export interface Isolate {
  send(
    path: string,
    key: string | undefined,
    init?: { method?: string; body?: object; headers?: Record<string, string> },
  ): Promise<{ status: number; headers: { get(name: string): string | null }; body: Record<string, unknown> }>
  /** Moves its clock ahead. */
  pass(seconds: number): Promise<void>
}

/** Isolates on workerd, under one Miniflare. None has served a request. */
export interface Isolates {
  isolates: Isolate[]
  /** What an isolate without a bucket of its own shares only the database by. */
  withoutBucket: Isolate
  /** The bucket that they share. */
  bucket: Awaited<ReturnType<Miniflare["getR2Bucket"]>>
  /** What they have written to their logs so far, one entry a line. */
  log: readonly string[]
  stop(): Promise<void>
}

/** The deployed bundle, with a clock that a test can move. */
const ENTRY = `
  import worker from "./index.js"
  const real = Date.now.bind(Date)
  let ahead = 0
  Date.now = () => real() + ahead
  export default {
    async fetch(request, env, context) {
      const { pathname, searchParams } = new URL(request.url)
      if (pathname === "/test/scheduled") await worker.scheduled({ scheduledTime: Date.now() }, env, context)
      else if (pathname !== "/test/pass") return worker.fetch(request, env, context)
      ahead += Number(searchParams.get("seconds") ?? 0) * 1000
      return new Response()
    },
  }`

const WITHOUT_BUCKET = "without-bucket"

/** @param settings the Workers' text bindings */
export async function startIsolates(
  bundle: Omit<Bundle, "remove">,
  settings: Record<string, string>,
  count: number,
): Promise<Isolates> {
  const log: string[] = []
  const folder = dirname(bundle.path)
  const contents = await readFile(bundle.path, "utf8")
  const names = Array.from({ length: count }, (_, index) => `isolate-${index}`)
  const miniflare = new Miniflare(
    convertV4MiniflareOptions({
      host: "127.0.0.1",
      port: 0,
      cf: false,
      handleStructuredLogs: ({ message }: { message: string }) => log.push(message),
      workers: [...names, WITHOUT_BUCKET].map((name) => ({
        name,
        modulesRoot: folder,
        modules: [
          { type: "ESModule" as const, path: join(folder, "entry.js"), contents: ENTRY },
          { type: "ESModule" as const, path: bundle.path, contents },
        ],
        compatibilityDate: bundle.compatibilityDate,
        compatibilityFlags: bundle.compatibilityFlags,
        bindings: settings,
        ...(name !== WITHOUT_BUCKET && { r2Buckets: ["BUCKET"] }),
      })),
    }),
  )
  await miniflare.ready
  const isolateOf = async (name: string): Promise<Isolate> => {
    const worker = await miniflare.getWorker(name)
    return {
      async send(path, key, { method = "GET", body, headers } = {}) {
        const response = await worker.fetch(`http://signal-ingest.test${path}`, {
          method,
          headers: {
            "Content-Type": "application/json",
            ...headers,
            ...(key !== undefined && { Authorization: `Bearer ${key}` }),
          },
          ...(body && { body: JSON.stringify(body) }),
        })
        const text = await response.text()
        return {
          status: response.status,
          headers: response.headers,
          body: text === "" ? {} : JSON.parse(text),
        }
      },
      async pass(seconds) {
        await worker.fetch(`http://signal-ingest.test/test/pass?seconds=${seconds}`)
      },
    }
  }
  return {
    isolates: await Promise.all(names.map(isolateOf)),
    withoutBucket: await isolateOf(WITHOUT_BUCKET),
    bucket: await miniflare.getR2Bucket("BUCKET", names[0]),
    log,
    stop: () => miniflare.dispose(),
  }
}

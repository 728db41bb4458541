import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { build } from "esbuild"
import { Client } from "pg"
import { type LocalAnalytics, startAnalytics } from "../../../src/local/analytics/server.ts"
import { ROOT } from "../../../src/local/machine/root.ts"
import { startNeonEndpoint } from "../../../src/local/neon/endpoint.ts"
import { migrate } from "../../../src/local/postgres/migrate.ts"
import { startTemporaryPostgres } from "../../../src/local/postgres/postgres.ts"
import { createServiceLogin } from "../../../src/local/postgres/service-login.ts"
import { SIGNING_SECRET } from "../../setup/slack.ts"
import { type Bundle, type RunningBundle, runBundle } from "../../setup/workerd.ts"
import { WEBHOOK_SECRET } from "./service.ts"

/** Everything that is fed. */
export interface Stand {
  /** The deployed bundle on bare workerd, with the secrets of both webhooks and open access. */
  service: RunningBundle
  /** The service's parsers in a Worker of their own, without any I/O. */
  parsers: RunningBundle
  analytics: LocalAnalytics
  databaseUrl: string
  query<Row>(text: string, values?: unknown[]): Promise<Row[]>
  /** For the files of the importer. */
  folder: string
  stop(): Promise<void>
}

export async function startStand(bundle: Omit<Bundle, "remove">): Promise<Stand> {
  const stops: (() => Promise<unknown>)[] = []
  const stop = async () => {
    for (const one of stops.splice(0).reverse()) await one()
  }
  try {
    const folder = await mkdtemp(join(tmpdir(), "signal-ingest-fuzz-"))
    stops.push(() => rm(folder, { recursive: true, force: true }))
    const postgres = await startTemporaryPostgres(undefined, { callerHandlesSignals: true })
    stops.push(postgres.stop)
    await migrate(postgres.url)
    const endpoint = await startNeonEndpoint()
    stops.push(endpoint.stop)
    const analytics = await startAnalytics({ databaseUrl: postgres.url })
    stops.push(analytics.stop)
    const client = new Client({ connectionString: postgres.url })
    await client.connect()
    stops.push(() => client.end())
    const service = await runBundle(bundle, {
      DATABASE_URL: await createServiceLogin(postgres.url),
      DATABASE_HTTP_ENDPOINT: endpoint.url,
      OPEN_ACCESS: "true",
      SLACK_SIGNING_SECRET: SIGNING_SECRET,
      WEBHOOK_SECRET,
    })
    stops.push(service.stop)
    const parsers = await runBundle({ ...bundle, path: await buildParsers(folder) }, {})
    stops.push(parsers.stop)
    return {
      service,
      parsers,
      analytics,
      databaseUrl: postgres.url,
      query: async <Row>(text: string, values?: unknown[]) =>
        (await client.query(text, values)).rows as Row[],
      folder,
      stop,
    }
  } catch (error) {
    await stop()
    throw error
  }
}

/** Bundles test/worker/fuzz as wrangler bundles the service: what is the runtime's own stays an import. */
async function buildParsers(folder: string): Promise<string> {
  const outfile = join(folder, "index.js")
  await build({
    entryPoints: [join(ROOT, "test/worker/fuzz/entry.ts")],
    outfile,
    bundle: true,
    format: "esm",
    target: "es2024",
    conditions: ["workerd", "worker", "browser"],
    external: ["cloudflare:*", "node:*"],
    logLevel: "warning",
  })
  return outfile
}

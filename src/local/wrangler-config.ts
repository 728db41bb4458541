import { writeFile } from "node:fs/promises"
import { join, relative, resolve } from "node:path"
import type { LocalAnalytics } from "./analytics/server.ts"
import { ROOT } from "./root.ts"

/** What is read of wrangler.toml here; the rest is passed on. */
interface ServiceConfig {
  main: string
  compatibility_date: string
  assets?: { directory: string }
  build?: { watch_dir?: string | string[] }
  services?: object[]
  analytics_engine_datasets?: { binding: string; dataset?: string }[]
}

const STAND_IN = "signal-ingest-local-analytics"

/**
 * Writes what wrangler needs to run the Worker with the local Analytics Engine: wrangler.toml with its datasets replaced by the
 * stand-in Worker, and the configuration of that.
 *
 * @returns the paths of both, the service's first
 */
export async function writeConfigs(folder: string, analytics: Pick<LocalAnalytics, "pointsUrl" | "token">): Promise<string[]> {
  // Loaded here, as it takes a while.
  const { experimental_readRawConfig: readConfig } = await import("wrangler")
  const wranglerToml: ServiceConfig = readConfig({ config: join(ROOT, "wrangler.toml") }).rawConfig
  const { analytics_engine_datasets: datasets = [], services = [], ...config } = wranglerToml
  const standIns = datasets.map(({ binding, dataset }) => ({
    binding,
    service: STAND_IN,
    entrypoint: "Dataset",
    props: { dataset: dataset ?? binding },
  }))
  const { main, assets, build } = config
  // As seen from the folder, since wrangler reads them so.
  const moved = (path: string) => relative(folder, resolve(ROOT, path))
  const service = {
    ...config,
    main: moved(main),
    ...(assets && { assets: { ...assets, directory: moved(assets.directory) } }),
    ...(build && { build: { ...build, watch_dir: [build.watch_dir ?? "src"].flat().map(moved) } }),
    services: [...services, ...standIns],
  }
  const standIn = {
    name: STAND_IN,
    main: moved("src/local/analytics/worker.ts"),
    compatibility_date: config.compatibility_date,
    vars: { POINTS_URL: analytics.pointsUrl, POINTS_TOKEN: analytics.token },
  }
  return Promise.all([write(folder, "service.json", service), write(folder, "analytics.json", standIn)])
}

/** Only this user can read it: it holds the token. */
async function write(folder: string, name: string, config: object): Promise<string> {
  const path = join(folder, name)
  await writeFile(path, JSON.stringify(config), { mode: 0o600 })
  return path
}

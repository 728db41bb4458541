import { type ChildProcess, execFile, spawn } from "node:child_process"
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises"
import { createRequire } from "node:module"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { promisify } from "node:util"
import { freePort } from "../../src/local/machine/ports.ts"
import { ROOT } from "../../src/local/machine/root.ts"
import { StartupError } from "../../src/local/machine/startup-error.ts"

/** The Worker as it is deployed, in a temporary folder. */
export interface Bundle {
  path: string
  compatibilityDate: string
  compatibilityFlags: string[]
  remove(): Promise<void>
}

/** Builds the very bundle that `npm run deploy` uploads, of this project or of a copy of it. */
export async function buildBundle(root = ROOT): Promise<Bundle> {
  const folder = await mkdtemp(join(tmpdir(), "signal-ingest-bundle-"))
  const wrangler = join(ROOT, "node_modules/wrangler/bin/wrangler.js")
  const environment = { ...process.env, WRANGLER_SEND_METRICS: "false" }
  const args = [wrangler, "deploy", "--dry-run", "--minify", "--outdir", folder]
  await promisify(execFile)(process.execPath, args, { cwd: root, env: environment }).catch((error) => {
    throw new StartupError(`The Worker could not be built:\n${error.stdout}${error.stderr}`)
  })
  const settings = await readFile(join(root, "wrangler.toml"), "utf8")
  return {
    path: join(folder, "index.js"),
    compatibilityDate: /^compatibility_date = "(.*)"$/m.exec(settings)?.[1] ?? "",
    compatibilityFlags: JSON.parse(/^compatibility_flags = (\[.*\])$/m.exec(settings)?.[1] ?? "[]"),
    remove: () => rm(folder, { recursive: true, force: true }),
  }
}

/**
 * A bundle running on bare workerd, with none of wrangler's help: what production allows and nothing more.
 */
export interface RunningBundle {
  address: string
  pid: number
  /** What it has written to its log so far, one entry a line. */
  log: readonly string[]
  /** Settles when the process has ended. */
  ended: Promise<void>
  stop(): Promise<void>
}

export interface BundleOptions {
  /** Default: a free one. */
  port?: number
  /** Such as `--max-heap-size=128`, which ends the process when the Worker needs more MiB. */
  v8Flags?: readonly string[]
  /**
   * Host and port to which workerd's own Analytics Engine binding posts each data point; without it none is
   * bound.
   */
  metricsSink?: string
}

/** @param settings the Worker's text bindings */
export async function runBundle(
  bundle: Omit<Bundle, "remove">,
  settings: Record<string, string>,
  options: BundleOptions = {},
): Promise<RunningBundle> {
  const port = options.port ?? (await freePort())
  const config = bundle.path.replace(/index\.js$/, `${port}.capnp`)
  await writeFile(config, configText(bundle, port, settings, options), { mode: 0o600 })
  const child = spawn(
    createRequire(import.meta.url)("workerd").default,
    ["serve", "--experimental", config],
    {
      stdio: ["ignore", "pipe", "pipe"],
    },
  )
  const log: string[] = []
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => log.push(...text.split("\n").filter(Boolean)))
  }
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()))
  const address = `http://127.0.0.1:${port}`
  await waitUntilAlive(address, child, log)
  return {
    address,
    pid: child.pid ?? 0,
    log,
    ended,
    async stop() {
      child.kill("SIGTERM")
      await ended
    },
  }
}

async function waitUntilAlive(address: string, child: ChildProcess, log: readonly string[]): Promise<void> {
  while (child.exitCode === null) {
    const response = await fetch(`${address}/healthz`).catch(() => undefined)
    if (response?.ok) return
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  throw new StartupError(`workerd did not start:\n${log.join("\n")}`)
}

/** @see https://github.com/cloudflare/workerd/blob/main/src/workerd/server/workerd.capnp */
function configText(
  { compatibilityDate, compatibilityFlags }: Omit<Bundle, "remove">,
  port: number,
  settings: Record<string, string>,
  { v8Flags = [], metricsSink }: BundleOptions,
): string {
  const bindings = Object.entries(settings).map(
    ([name, text]) => `(name = ${JSON.stringify(name)}, text = ${JSON.stringify(text)})`,
  )
  const services = [
    `(name = "main", worker = .worker)`,
    `(name = "internet", network = (allow = ["public", "private"]))`,
  ]
  if (metricsSink !== undefined) {
    services.push(`(name = "metrics", external = (address = ${JSON.stringify(metricsSink)}, http = ()))`)
    bindings.push(`(name = "METRICS", analyticsEngine = "metrics")`)
  }
  return `
    using Workerd = import "/workerd/workerd.capnp";
    const config :Workerd.Config = (
      v8Flags = ${JSON.stringify(v8Flags)},
      services = [${services.join(", ")}],
      sockets = [(name = "http", address = "127.0.0.1:${port}", http = (), service = "main")]
    );
    const worker :Workerd.Worker = (
      modules = [(name = "index.js", esModule = embed "index.js")],
      compatibilityDate = "${compatibilityDate}",
      compatibilityFlags = ${JSON.stringify(compatibilityFlags)},
      globalOutbound = "internet",
      bindings = [${bindings.join(", ")}]
    );`
}

import { createHash, randomUUID } from "node:crypto"
import { once } from "node:events"
import { join, resolve } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { parseArgs } from "node:util"
import { type LocalAnalytics, startAnalytics } from "./analytics/server.ts"
import { runDemo } from "./demo.ts"
import { type Environment, readEnvironment } from "./environment.ts"
import { startNeonEndpoint } from "./neon/endpoint.ts"
import { isFree } from "./ports.ts"
import { migrate } from "./postgres/migrate.ts"
import { startPostgres } from "./postgres/postgres.ts"
import { StartupError } from "./startup-error.ts"
import { startWorker } from "./worker.ts"

const HELP = `npm start -- [options]

  --port PORT   where the service listens (default 8002)
  --data DIR    where the database keeps its data (default .data)
  --demo        send a trickle of signals, some of them wrong
  --help        show this

With DATABASE_URL set, that Neon database is used and no Postgres is started.`

interface Options {
  port: number
  dataDir: string
  demo: boolean
}

function readOptions(): Options | undefined {
  const { values } = parse()
  if (values.help) return undefined
  const port = Number(values.port)
  if (!Number.isInteger(port) || port < 1 || port > 65535)
    throw new StartupError(`--port ${values.port} is no port: give a number from 1 to 65535.`)
  return { port, dataDir: resolve(values.data), demo: values.demo }
}

function parse() {
  try {
    return parseArgs({
      options: {
        port: { type: "string", default: "8002" },
        data: { type: "string", default: ".data" },
        demo: { type: "boolean", default: false },
        help: { type: "boolean", default: false },
      },
    })
  } catch (error) {
    throw new StartupError(`${(error as Error).message.split(". ")[0]}. See npm start -- --help.`)
  }
}

/** What has been started, ended in reverse order. */
const started: (() => Promise<void>)[] = []

async function stopAll(): Promise<void> {
  for (const stop of started.splice(0).reverse()) await stop().catch((error) => console.error((error as Error).message))
}

/** Starts everything and waits until `stopped` aborts. Throws when it does while something is starting. */
async function start({ port, dataDir, demo }: Options, stopped: AbortSignal): Promise<void> {
  if (!(await isFree(port)))
    throw new StartupError(`Port ${port} is in use: stop what listens there, or choose another with --port.`)
  const environment = await readEnvironment()
  if (!environment.API_KEYS) environment.OPEN_ACCESS ??= "true"
  const demoKey = demo ? addDemoKey(environment) : undefined

  const failure = Promise.withResolvers<never>()
  failure.promise.catch(() => {})
  const fail = (sentence: string) => stopped.aborted || failure.reject(new StartupError(sentence))
  const database = environment.DATABASE_URL
    ? "the one that DATABASE_URL names"
    : await startDatabase(join(dataDir, "postgres"), environment, stopped, () => fail("Postgres has ended by itself."))

  const analytics = await startMetrics(environment)

  const worker = await startWorker({ port, stateDir: join(dataDir, "wrangler"), environment, analytics })
  started.push(worker.stop)
  const address = `http://localhost:${port}`
  worker.ended.then((code) => fail(`The Worker has ended by itself (code ${code}); what it said is above.`), failure.reject)
  await Promise.race([waitUntilReady(address, stopped), failure.promise])

  console.log(welcome(address, database, environment.OPEN_ACCESS === "true"))
  if (demoKey !== undefined) void runDemo(address, demoKey, stopped)
  await Promise.race([failure.promise, once(stopped, "abort")])
}

/** Starts Postgres, migrated, and the endpoint in front of it, and writes both into the Worker's settings. Returns how to reach it. */
async function startDatabase(
  dataDir: string,
  environment: Environment,
  stopped: AbortSignal,
  onCrash: () => void,
): Promise<string> {
  const postgres = await startPostgres(dataDir, { callerHandlesSignals: true, onCrash })
  started.push(postgres.stop)
  stopped.throwIfAborted()
  await migrate(postgres.url)
  const endpoint = await startNeonEndpoint({ only: postgres.url })
  started.push(endpoint.stop)
  stopped.throwIfAborted()
  environment.DATABASE_URL = postgres.url
  environment.DATABASE_HTTP_ENDPOINT = endpoint.url
  return `psql ${postgres.url}   (data in ${dataDir})`
}

/**
 * Starts what stands in for Analytics Engine in the embedded Postgres, and has the Worker read its metrics there. The service does
 * without: a fault here costs the metrics alone.
 */
async function startMetrics(environment: Environment): Promise<LocalAnalytics | undefined> {
  const { DATABASE_URL, DATABASE_HTTP_ENDPOINT, CLOUDFLARE_ACCOUNT_ID, ANALYTICS_API_TOKEN } = environment
  // The account alone may be there for wrangler's sake.
  if (CLOUDFLARE_ACCOUNT_ID && ANALYTICS_API_TOKEN) {
    console.log("Metrics are those of the Cloudflare account given; what this service does is not added to them.")
    return undefined
  }
  if (!DATABASE_HTTP_ENDPOINT || !DATABASE_URL) {
    console.log(
      "Metrics can't be read without the embedded Postgres, unless CLOUDFLARE_ACCOUNT_ID and ANALYTICS_API_TOKEN are set.",
    )
    return undefined
  }
  try {
    const analytics = await startAnalytics({ databaseUrl: DATABASE_URL })
    started.push(analytics.stop)
    environment.CLOUDFLARE_ACCOUNT_ID = "local"
    environment.ANALYTICS_API_TOKEN = analytics.token
    environment.ANALYTICS_SQL_ENDPOINT = analytics.url
    return analytics
  } catch (error) {
    console.error(`Metrics can't be kept: ${(error as Error).message}`)
  }
}

/** Where access takes a key, the demo gets one of its own that nobody else knows; the empty key where it does not. */
function addDemoKey(environment: Environment): string {
  if (!environment.API_KEYS) return ""
  const key = randomUUID()
  const sha256 = createHash("sha256").update(key).digest("hex")
  try {
    environment.API_KEYS = JSON.stringify([...JSON.parse(environment.API_KEYS), { name: "demo", sha256, scopes: ["ingest"] }])
  } catch {
    throw new StartupError("API_KEYS is not a JSON list of keys.")
  }
  return key
}

/** Waits until the service can write. A database that isn't ready after a while is said once, and waited for on. */
async function waitUntilReady(address: string, stopped: AbortSignal): Promise<void> {
  const sayAt = Date.now() + 5000
  let said = false
  for (;;) {
    const response = await fetch(`${address}/readyz`, { signal: stopped }).catch(() => undefined)
    stopped.throwIfAborted()
    if (response?.ok) return
    if (response && !said && Date.now() > sayAt) {
      said = true
      const { detail } = (await response.json().catch(() => ({}))) as { detail?: string }
      console.log(`Not ready yet: ${detail ?? `status ${response.status}`} Is the database migrated (npm run db:migrate)?`)
    }
    await sleep(100, undefined, { signal: stopped })
  }
}

const welcome = (address: string, database: string, open: boolean) => `
  signal-ingest listens on ${address}${open ? ", open to everyone who can reach it" : ""}
  Database: ${database}

  Try it:
    curl -X POST ${address}/api/signals/batch \\
      -H "Content-Type: application/json"${open ? "" : ' -H "Authorization: Bearer YOUR_KEY"'} \\
      -d '{"signals": [{"context_window_id": "conv-123", "raw_content": "Hello", "signal_score": 0.85}]}'

  Ctrl-C ends it.
`

/** A SIGTERM to npm ends npm and the shell between it and this process, and comes no further. */
function whenParentEnds(stop: () => void): void {
  const parent = process.ppid
  setInterval(() => process.ppid !== parent && stop(), 500).unref()
}

async function main(): Promise<number> {
  const stop = new AbortController()
  // Kept to the end: a second Ctrl-C may not end this process before what it started.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => stop.abort())
  if (process.env.npm_lifecycle_event !== undefined) whenParentEnds(() => stop.abort())
  try {
    const options = readOptions()
    if (options) await start(options, stop.signal)
    else console.log(HELP)
    return 0
  } catch (error) {
    // What fails after Ctrl-C fails because of it: it reaches initdb and Postgres, too.
    if (stop.signal.aborted) return 0
    console.error(error instanceof StartupError ? error.message : error)
    return 1
  } finally {
    await stopAll()
  }
}

process.exitCode = await main()
// Whatever still holds the process, a kept-alive connection for one, has no work left.
process.exit()

import { createHash, randomUUID } from "node:crypto"
import { once } from "node:events"
import { hostname } from "node:os"
import { join, relative } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { type LocalAnalytics, startAnalytics } from "./analytics/server.ts"
import { type LocalDatabase, startDatabase } from "./database.ts"
import { runDemo } from "./demo.ts"
import { type Environment, readEnvironment } from "./environment.ts"
import { HELP, type Options, readOptions } from "./options.ts"
import { isFree } from "./ports.ts"
import { StartupError } from "./startup-error.ts"
import { RequestLines } from "./terminal/request-line.ts"
import { databaseOnly, welcome } from "./terminal/welcome.ts"
import { type LocalWorker, startWorker } from "./worker/worker.ts"

/** The functions that stop the started parts. `stopAll` calls them in reverse order. */
const started: (() => Promise<void>)[] = []

async function stopAll(): Promise<void> {
  for (const stop of started.splice(0).reverse())
    await stop().catch((error) => console.error((error as Error).message))
}

/** The first Ctrl-C aborts `stopped`, a second one `hurry`. */
interface Interrupts {
  stopped: AbortSignal
  hurry: AbortController
}

/**
 * Starts every part, and waits until the user stops it. Throws when a part fails, or when it is stopped
 * during the start.
 */
async function start(options: Options, { stopped, hurry }: Interrupts): Promise<void> {
  const { port, host, dataDir } = options
  if (!options.databaseOnly && !(await isFree(port)))
    throw new StartupError(
      `Port ${port} is in use. Stop the program that listens there, or choose another port with --port.`,
    )
  const environment = await readEnvironment()
  const failure = Promise.withResolvers<never>()
  failure.promise.catch(() => {})
  const fail = (sentence: string) => {
    if (stopped.aborted) return
    // Without this part the service cannot finish its work, so the stop must not wait for it.
    hurry.abort()
    failure.reject(new StartupError(sentence))
  }
  const database = await openDatabase(options, environment, stopped, () =>
    fail("Postgres ended unexpectedly."),
  )
  const ended = Promise.race([failure.promise, once(stopped, "abort")])
  if (options.databaseOnly) {
    if (!database)
      throw new StartupError(
        "--database-only starts the local database, but DATABASE_URL names another one. Unset DATABASE_URL.",
      )
    console.log(databaseOnly(databaseLines(database), relative("", database.devVars)))
    return void (await ended)
  }

  if (!environment.API_KEYS) environment.OPEN_ACCESS ??= "true"
  const open = environment.OPEN_ACCESS === "true"
  const isLocal = ["localhost", "127.0.0.1", "::1"].includes(host)
  if (open && !isLocal)
    console.warn(
      `Warning: everyone who can reach ${host}:${port} can read and write signals. Set API_KEYS to ask for a key.`,
    )
  const demoKey = options.demo ? addDemoKey(environment) : undefined
  const analytics = await startMetrics(environment, database)
  const worker = startWorker({
    port,
    host,
    knownHosts: isLocal ? [] : [host, hostname()],
    stateDir: join(dataDir, "wrangler"),
    environment,
    analytics,
    postgresPid: database?.postgres.pid,
    log: logger(),
  })
  started.push(async () => sayWhatIsLeft(await worker.stop(hurry.signal)))
  worker.ended.then(
    (code) => fail(`The Worker ended unexpectedly (code ${code}). Its last messages are above.`),
    failure.reject,
  )
  const address = `http://${isLocal || /^(0\.0\.0\.0|::|\*)$/.test(host) ? "localhost" : host}:${port}`
  await Promise.race([waitUntilReady(address, worker, stopped), failure.promise])

  console.log(
    welcome({ address, open, database: database ? databaseLines(database) : ["named by DATABASE_URL"] }),
  )
  if (demoKey !== undefined) void runDemo(address, demoKey, stopped)
  await ended
}

const databaseLines = ({ ownerUrl, dataDir, endpoint }: LocalDatabase) => [
  `psql ${ownerUrl}`,
  `SQL over HTTP at ${endpoint.url}`,
  `data in ${relative("", dataDir) || "."}`,
]

/** Starts the local database unless DATABASE_URL is set, and adds its address to the Worker's settings. */
async function openDatabase(
  { dataDir, endpointPort }: Options,
  environment: Environment,
  stopped: AbortSignal,
  onCrash: () => void,
): Promise<LocalDatabase | undefined> {
  if (environment.DATABASE_URL) return undefined
  const database = await startDatabase({ dataDir, endpointPort, onCrash, started, stopped })
  environment.DATABASE_URL = database.url
  environment.DATABASE_HTTP_ENDPOINT = database.endpoint.url
  return database
}

/** Prints short lines at a terminal, and the Worker's JSON elsewhere. */
function logger(): (line: string) => void {
  if (!process.stdout.isTTY) return console.log
  const lines = new RequestLines()
  return (line) => {
    const shown = lines.show(line, Date.now())
    if (shown !== undefined) console.log(shown)
  }
}

function sayWhatIsLeft(left: Awaited<ReturnType<LocalWorker["stop"]>>): void {
  if (!left || left.messages === 0) return
  const messages = left.messages === 1 ? "1 message waits" : `${left.messages} messages wait`
  console.log(`${messages} in the queue. The next npm start stores them.`)
}

/**
 * Starts the local Analytics Engine in the embedded Postgres, and points the Worker to it. Without it the
 * service still works, so an error here only costs the metrics.
 */
async function startMetrics(
  environment: Environment,
  database: LocalDatabase | undefined,
): Promise<LocalAnalytics | undefined> {
  const { CLOUDFLARE_ACCOUNT_ID, ANALYTICS_API_TOKEN } = environment
  // The account id without a token is a setting of wrangler.
  if (CLOUDFLARE_ACCOUNT_ID && ANALYTICS_API_TOKEN) {
    console.log(
      "The metrics are those of the given Cloudflare account. Requests to this service are not added to them.",
    )
    return undefined
  }
  if (!database) {
    console.log(
      "There are no metrics without the embedded Postgres. Set CLOUDFLARE_ACCOUNT_ID and ANALYTICS_API_TOKEN to read them at Cloudflare.",
    )
    return undefined
  }
  try {
    const analytics = await startAnalytics({ databaseUrl: database.ownerUrl })
    started.push(analytics.stop)
    environment.CLOUDFLARE_ACCOUNT_ID = "local"
    environment.ANALYTICS_API_TOKEN = analytics.token
    environment.ANALYTICS_SQL_ENDPOINT = analytics.url
    return analytics
  } catch (error) {
    console.error(`The local metrics did not start: ${(error as Error).message}`)
  }
}

/** Adds a random key for the demo. Returns the empty key where access is open. */
function addDemoKey(environment: Environment): string {
  if (!environment.API_KEYS) return ""
  const key = randomUUID()
  const sha256 = createHash("sha256").update(key).digest("hex")
  try {
    environment.API_KEYS = JSON.stringify([
      ...JSON.parse(environment.API_KEYS),
      { name: "demo", sha256, scopes: ["ingest"] },
    ])
  } catch {
    throw new StartupError("API_KEYS must be a JSON list of keys. See docs/deploy.md.")
  }
  return key
}

/**
 * Waits until the service can write. After five seconds it prints once why the database is not ready, and
 * continues to wait.
 */
async function waitUntilReady(address: string, worker: LocalWorker, stopped: AbortSignal): Promise<void> {
  const sayAt = Date.now() + 5000
  let said = false
  for (;;) {
    const response = await fetch(`${address}/readyz`, { signal: stopped }).catch(() => undefined)
    stopped.throwIfAborted()
    if (response?.ok) break
    if (response && !said && Date.now() > sayAt) {
      said = true
      const { detail } = (await response.json().catch(() => ({}))) as { detail?: string }
      console.log(
        `Not ready yet: ${detail ?? `status ${response.status}`} If the database has no tables, run npm run db:migrate.`,
      )
    }
    await sleep(100, undefined, { signal: stopped })
  }
  await worker.resumed
}

/** A SIGTERM to npm ends npm and the shell between it and this process, and does not reach this process. */
function whenParentEnds(stop: () => void): void {
  const parent = process.ppid
  const timer = setInterval(() => {
    if (process.ppid === parent) return
    clearInterval(timer)
    stop()
  }, 500).unref()
}

async function main(): Promise<number> {
  const stop = new AbortController()
  const hurry = new AbortController()
  let interruptedAt: number | undefined
  const interrupt = () => {
    interruptedAt ??= Date.now()
    stop.abort()
    // One Ctrl-C comes twice: from the terminal, and passed on by npm.
    if (Date.now() - interruptedAt > 500) hurry.abort()
  }
  // Kept to the end: a second Ctrl-C must not end this process before what it started.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, interrupt)
  if (process.env.npm_lifecycle_event !== undefined) whenParentEnds(() => stop.abort())
  try {
    const options = readOptions()
    if (options) await start(options, { stopped: stop.signal, hurry })
    else console.log(HELP)
    return 0
  } catch (error) {
    // Ctrl-C also reaches initdb and Postgres, so a failure after it is expected.
    if (stop.signal.aborted) return 0
    console.error(error instanceof StartupError ? error.message : error)
    return 1
  } finally {
    await stopAll()
  }
}

process.exitCode = await main()
// What still holds the process, such as a kept-alive connection, has no work left.
process.exit()

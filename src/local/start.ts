import { createHash, randomBytes, randomUUID } from "node:crypto"
import { once } from "node:events"
import { hostname } from "node:os"
import { join, relative } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { type LocalAnalytics, startAnalytics } from "./analytics/server.ts"
import { type DataLock, lockDataFolder } from "./data-lock.ts"
import { type LocalDatabase, startDatabase } from "./database.ts"
import { runDemo } from "./demo.ts"
import { type Environment, readEnvironment } from "./environment.ts"
import { isFree } from "./machine/ports.ts"
import { StartupError } from "./machine/startup-error.ts"
import { HELP, type Options, readOptions } from "./options.ts"
import { keptPassword } from "./postgres/data-folder.ts"
import { Stop } from "./stop.ts"
import { RequestLines } from "./terminal/request-line.ts"
import { databaseOnly, welcome } from "./terminal/welcome.ts"
import { type LocalWorker, startWorker } from "./worker/worker.ts"

/**
 * Starts every part, and waits until the user stops it. Throws when a part fails, or when it is stopped
 * during the start.
 */
async function start(options: Options, lock: DataLock, stop: Stop): Promise<void> {
  if (!options.databaseOnly && !(await isFree(options.port)))
    throw new StartupError(
      `Port ${options.port} is in use. Stop the program that listens there, or choose another port with --port.`,
    )
  const environment = await readEnvironment()
  openAccess(environment, options)
  const failure = Promise.withResolvers<never>()
  failure.promise.catch(() => {})
  const fail = (sentence: string) => {
    if (stop.requested.aborted) return
    // Without this part the service cannot finish its work, so the stop must not wait for it.
    stop.skipWaiting()
    failure.reject(new StartupError(sentence))
  }
  const database = await openDatabase(options, environment, stop, () => fail("Postgres ended unexpectedly."))
  const ended = Promise.race([failure.promise, once(stop.requested, "abort")])
  ended.catch(() => {})
  if (options.databaseOnly) {
    if (!database)
      throw new StartupError(
        "--database-only starts the local database, but DATABASE_URL names another one. Unset DATABASE_URL.",
      )
    console.log(databaseOnly(databaseLines(database), relative("", database.devVars)))
    return void (await ended)
  }
  await Promise.race([startService(options, environment, { database, lock, stop, fail }), failure.promise])
  await ended
}

interface Parts {
  database: LocalDatabase | undefined
  lock: DataLock
  stop: Stop
  /** Ends `npm start` with an error. */
  fail(sentence: string): void
}

/** Starts the metrics and the Worker, and prints how to use the service when it is ready. */
async function startService(
  { port, host, dataDir, demo }: Options,
  environment: Environment,
  { database, lock, stop, fail }: Parts,
): Promise<void> {
  const open = environment.OPEN_ACCESS === "true"
  const isLocal = isLoopback(host)
  if (open && !isLocal)
    console.warn(
      `Warning: everyone who can reach ${host}:${port} can read and write signals. Set API_KEYS to ask for a key.`,
    )
  const demoKey = demo ? addDemoKey(environment) : undefined
  const analytics = await stop.during(startMetrics(environment, database, stop))
  console.log("Starting the Worker ...")
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
  lock.setWorker(worker.pid)
  stop.add(async () => printWaitingMessages(await worker.stop(stop.immediate)))
  worker.ended.then(
    (code) => fail(`The Worker ended unexpectedly (code ${code}). Its last messages are above.`),
    (error) => fail(`The Worker's process did not start: ${(error as Error).message}.`),
  )
  const address = `http://${isLocal || /^(0\.0\.0\.0|::|\*)$/.test(host) ? "localhost" : host}:${port}`
  await waitUntilReady(address, worker, stop.requested)
  const lines = database ? databaseLines(database) : ["named by DATABASE_URL"]
  console.log(welcome({ address, open, database: lines }))
  if (demoKey !== undefined) void runDemo(address, demoKey, stop.requested)
}

const databaseLines = ({ ownerUrl, dataDir, endpoint }: LocalDatabase) => [
  `psql ${ownerUrl}`,
  `SQL over HTTP at ${endpoint.url}`,
  `data in ${relative("", dataDir) || "."}`,
]

const isLoopback = (host: string) => /^(localhost|127(\.\d+){3}|\[?::1\]?)$/i.test(host)

/**
 * Opens the service when no keys are set. A database elsewhere may be somebody's production, so that there
 * only `--open-access` does it: a setting may come from a file that was written for another database.
 */
function openAccess(environment: Environment, options: Options): void {
  if (options.openAccess) environment.OPEN_ACCESS = "true"
  const { DATABASE_URL, API_KEYS, OPEN_ACCESS } = environment
  const isLocal = !DATABASE_URL || isLoopback(URL.parse(DATABASE_URL)?.hostname ?? "")
  if (isLocal && !API_KEYS) environment.OPEN_ACCESS ??= "true"
  const isOpen = OPEN_ACCESS === "true" || !API_KEYS
  if (isLocal || !isOpen || options.openAccess || options.databaseOnly) return
  throw new StartupError(
    "DATABASE_URL names a database on another machine, and the service would accept every call without a key. " +
      "Set API_KEYS and leave OPEN_ACCESS unset, or unset DATABASE_URL for a local database. " +
      "If everyone who reaches the service may read and write that database, add --open-access.",
  )
}

/** Starts the local database unless DATABASE_URL is set, and adds its address to the Worker's settings. */
async function openDatabase(
  { dataDir, endpointPort }: Options,
  environment: Environment,
  stop: Stop,
  onCrash: () => void,
): Promise<LocalDatabase | undefined> {
  if (environment.DATABASE_URL) return undefined
  const database = await startDatabase({ dataDir, endpointPort, onCrash, stop })
  environment.DATABASE_URL = database.url
  environment.SUBSCRIPTION_SECRET ??= await keptPassword(dataDir, "subscription", () =>
    randomBytes(32).toString("base64url"),
  )
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

function printWaitingMessages(left: Awaited<ReturnType<LocalWorker["stop"]>>): void {
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
  stop: Stop,
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
    stop.add(analytics.stop)
    environment.CLOUDFLARE_ACCOUNT_ID = "local"
    environment.ANALYTICS_API_TOKEN = analytics.token
    environment.ANALYTICS_SQL_ENDPOINT = analytics.url
    return analytics
  } catch (error) {
    if (!stop.requested.aborted) console.error(`The local metrics did not start: ${(error as Error).message}`)
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
  const explainAt = Date.now() + 5000
  let explained = false
  for (;;) {
    const response = await fetch(`${address}/readyz`, { signal: stopped }).catch(() => undefined)
    stopped.throwIfAborted()
    if (response?.ok) break
    if (response && !explained && Date.now() > explainAt) {
      explained = true
      const { detail } = (await response.json().catch(() => ({}))) as { detail?: string }
      console.log(`Not ready yet: ${detail ?? `status ${response.status}`}`)
    }
    await sleep(100, undefined, { signal: stopped })
  }
  await Promise.race([worker.resumed, once(stopped, "abort")])
  stopped.throwIfAborted()
}

async function main(): Promise<number> {
  const stop = new Stop()
  stop.listen()
  let lock: DataLock | undefined
  try {
    const options = readOptions()
    if (!options) {
      console.log(HELP)
      return 0
    }
    lock = await lockDataFolder(options.dataDir, stop.requested)
    stop.requested.addEventListener("abort", lock.setStopping)
    if (stop.requested.aborted) lock.setStopping()
    await start(options, lock, stop)
    return 0
  } catch (error) {
    // A part that was interrupted fails, as it should.
    if (stop.requested.aborted) return 0
    lock?.setStopping()
    console.error(error instanceof StartupError ? error.message : error)
    return 1
  } finally {
    await stop.stopParts()
    lock?.release()
  }
}

process.exitCode = await main()
// What still holds the process, such as a kept-alive connection, has no work left.
process.exit()

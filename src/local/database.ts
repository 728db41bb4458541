import { existsSync } from "node:fs"
import { writeFile } from "node:fs/promises"
import { join, relative } from "node:path"
import { StartupError } from "./machine/startup-error.ts"
import { type NeonEndpoint, startNeonEndpoint } from "./neon/endpoint.ts"
import type { Options } from "./options.ts"
import { migrate } from "./postgres/migrate.ts"
import { type LocalPostgres, startPostgres } from "./postgres/postgres.ts"
import { makeLogin } from "./postgres/service-login.ts"
import type { Stop } from "./stop.ts"

/** The embedded Postgres after its migrations, with the SQL endpoint in front of it. */
export interface LocalDatabase {
  postgres: LocalPostgres
  endpoint: NeonEndpoint
  /** Connection string of the superuser, for the developer. */
  ownerUrl: string
  /** Connection string of the service's own role. The endpoint accepts no other. */
  url: string
  dataDir: string
  /** A file of settings with which `npx wrangler dev` uses this database. */
  devVars: string
}

export interface DatabaseOptions extends Pick<Options, "dataDir" | "endpointPort"> {
  /** Called when Postgres ends unexpectedly. */
  onCrash(): void
  /** Stops each part that runs. */
  stop: Stop
}

/**
 * Starts Postgres, migrates it and starts the endpoint.
 *
 * @throws {StartupError} a part did not start; the sentence says which and why
 */
export async function startDatabase({
  dataDir,
  endpointPort,
  onCrash,
  stop,
}: DatabaseOptions): Promise<LocalDatabase> {
  const folder = join(dataDir, "postgres")
  const shown = relative("", dataDir) || "."
  console.log(`${existsSync(folder) ? "Starting" : "Creating"} the database in ${shown} ...`)
  let isAnnounced = false
  const postgres = await startPostgres(folder, {
    callerHandlesSignals: true,
    onCrash,
    onRefused() {
      if (!isAnnounced) console.log("Waiting until the last connection of the former server has ended ...")
      isAnnounced = true
    },
    stopped: stop.requested,
  })
  stop.add(postgres.stop)
  stop.requested.throwIfAborted()
  console.log("Preparing the tables ...")
  // A stop ends Postgres and with it the migration, which continues at the next start.
  await stop.during(migrate(postgres.url))
  const url = await stop.during(makeLogin(postgres.url, folder))
  const endpoint = await listen(endpointPort, url)
  stop.add(endpoint.stop)
  stop.requested.throwIfAborted()
  const devVars = join(dataDir, "dev.vars")
  const settings = { DATABASE_URL: url, DATABASE_HTTP_ENDPOINT: endpoint.url, OPEN_ACCESS: "true" }
  const lines = Object.entries(settings).map(([name, value]) => `${name}="${value}"\n`)
  await writeFile(devVars, lines.join(""), { mode: 0o600 })
  return { postgres, endpoint, ownerUrl: postgres.url, url, dataDir, devVars }
}

async function listen({ port, fixed }: Options["endpointPort"], only: string): Promise<NeonEndpoint> {
  try {
    return await startNeonEndpoint({ port, only })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EADDRINUSE") throw error
    if (fixed) throw new StartupError(`Port ${port} is in use. Choose another port with --endpoint-port.`)
    const endpoint = await startNeonEndpoint({ only })
    console.log(
      `Port ${port} is in use, so the database's endpoint listens on ${new URL(endpoint.url).port}.`,
    )
    return endpoint
  }
}

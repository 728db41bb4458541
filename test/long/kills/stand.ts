import { Client } from "pg"
import { freePort } from "../../../src/local/machine/ports.ts"
import { startNeonEndpoint } from "../../../src/local/neon/endpoint.ts"
import { migrate } from "../../../src/local/postgres/migrate.ts"
import { startTemporaryPostgres } from "../../../src/local/postgres/postgres.ts"
import { createServiceLogin } from "../../../src/local/postgres/service-login.ts"
import { type Bundle, runBundle } from "../../setup/workerd.ts"

/** The service and its database, which can be killed and come back at the same address. */
export interface Stand {
  address: string
  connect(): Promise<Client>
  killWorker(): Promise<void>
  killPostgres(): Promise<void>
  stop(): Promise<void>
}

export async function startStand(bundle: Omit<Bundle, "remove">): Promise<Stand> {
  const postgres = await startTemporaryPostgres(undefined, { callerHandlesSignals: true })
  await migrate(postgres.url)
  const endpoint = await startNeonEndpoint()
  const settings = {
    DATABASE_URL: await createServiceLogin(postgres.url),
    DATABASE_HTTP_ENDPOINT: endpoint.url,
    OPEN_ACCESS: "true",
  }
  const port = await freePort()
  const start = () => runBundle(bundle, settings, { port })
  let worker = await start()
  return {
    address: worker.address,
    async connect() {
      const client = new Client({ connectionString: postgres.url })
      await client.connect()
      return client
    },
    async killWorker() {
      process.kill(worker.pid, "SIGKILL")
      await worker.ended
      worker = await start()
    },
    async killPostgres() {
      await postgres.kill()
      await postgres.restart()
    },
    async stop() {
      await worker.stop()
      await endpoint.stop()
      await postgres.stop()
    },
  }
}

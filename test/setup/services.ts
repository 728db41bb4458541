import type { TestProject } from "vitest/node"
import { migrate } from "../../src/local/migrate.ts"
import { startNeonEndpoint } from "../../src/local/neon-endpoint.ts"
import { startTemporaryPostgres } from "../../src/local/postgres.ts"

declare module "vitest" {
  interface ProvidedContext {
    databaseUrl: string
    databaseEndpoint: string
  }
}

/** One real Postgres behind one local Neon endpoint, for every test that runs inside workerd. */
export default async function startServices(project: TestProject) {
  const postgres = await startTemporaryPostgres()
  await migrate(postgres.url)
  const endpoint = await startNeonEndpoint()
  project.provide("databaseUrl", postgres.url)
  project.provide("databaseEndpoint", endpoint.url)
  return async () => {
    await endpoint.stop()
    await postgres.stop()
  }
}

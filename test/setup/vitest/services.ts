import type { TestProject } from "vitest/node"
import { startNeonEndpoint } from "../../../src/local/neon/endpoint.ts"
import { migrate } from "../../../src/local/postgres/migrate.ts"
import { startTemporaryPostgres } from "../../../src/local/postgres/postgres.ts"
import { createServiceLogin } from "../../../src/local/postgres/service-login.ts"
import { type Bundle, buildBundle } from "../workerd.ts"
import { startReceiver } from "./receiver.ts"

declare module "vitest" {
  interface ProvidedContext {
    /** The login of the service. */
    databaseUrl: string
    /** The owner of the tables, for what tests do past the service. */
    databaseOwnerUrl: string
    databaseEndpoint: string
    /** The address of a receiver of subscriptions, which tests tell what to answer. */
    receiver: string
    bundle: Omit<Bundle, "remove">
  }
}

/**
 * One real Postgres behind one local Neon endpoint for every test that runs inside workerd, and the bundle as
 * it is deployed for those that drive the service from outside.
 */
export default async function startServices(project: TestProject) {
  const postgres = await startTemporaryPostgres()
  await migrate(postgres.url)
  const endpoint = await startNeonEndpoint()
  const { remove, ...bundle } = await buildBundle()
  project.provide("bundle", bundle)
  project.provide("databaseUrl", await createServiceLogin(postgres.url))
  project.provide("databaseOwnerUrl", postgres.url)
  project.provide("databaseEndpoint", endpoint.url)
  const receiver = await startReceiver()
  project.provide("receiver", receiver.url)
  return async () => {
    await remove()
    await receiver.stop()
    await endpoint.stop()
    await postgres.stop()
  }
}

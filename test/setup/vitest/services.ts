import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { TestProject } from "vitest/node"
import { bundleCommandLine } from "../../../scripts/command-line.ts"
import { startNeonEndpoint } from "../../../src/local/neon/endpoint.ts"
import { migrate } from "../../../src/local/postgres/migrate.ts"
import { startTemporaryPostgres } from "../../../src/local/postgres/postgres.ts"
import { createServiceLogin } from "../../../src/local/postgres/service-login.ts"
import { type Bundle, buildBundle } from "../workerd.ts"
import { makeTemplate } from "./postgres-template.ts"
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
    /** The path of the command line as a bundle. */
    commandLine: string
    /** A folder of Postgres with the migrated tables, whose server is stopped; tests start copies of it. */
    postgresTemplate: string
  }
}

/**
 * One real Postgres behind one local Neon endpoint for every test that runs inside workerd, and the bundle as
 * it is deployed for those that drive the service from outside. What many files would make again is made here
 * once.
 */
export default async function startServices(project: TestProject) {
  const postgres = await startTemporaryPostgres()
  await migrate(postgres.url)
  const endpoint = await startNeonEndpoint()
  const { remove, ...bundle } = await buildBundle()
  const commandLine = await mkdtemp(join(tmpdir(), "signal-ingest-cli-bundle-"))
  await bundleCommandLine({ folder: commandLine })
  const template = await makeTemplate()
  project.provide("commandLine", join(commandLine, "main.js"))
  project.provide("postgresTemplate", template.folder)
  project.provide("bundle", bundle)
  project.provide("databaseUrl", await createServiceLogin(postgres.url))
  project.provide("databaseOwnerUrl", postgres.url)
  project.provide("databaseEndpoint", endpoint.url)
  const receiver = await startReceiver()
  project.provide("receiver", receiver.url)
  return async () => {
    await remove()
    await receiver.stop()
    await rm(commandLine, { recursive: true })
    await template.remove()
    await endpoint.stop()
    await postgres.stop()
  }
}

import { execFile } from "node:child_process"
import { chmod, mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { promisify } from "node:util"
import { freePort } from "../../../src/local/machine/ports.ts"
import { migrate } from "../../../src/local/postgres/migrate.ts"
import { type LocalPostgres, startPostgres } from "../../../src/local/postgres/postgres.ts"

/** A folder that the user of Postgres can enter also where root starts the server. */
async function openFolder(parent: string): Promise<string> {
  const folder = await mkdtemp(join(parent, "signal-ingest-"))
  await chmod(folder, 0o755)
  return folder
}

/** Makes a database with the migrated tables and stops its server, so that its folder can be copied. */
export async function makeTemplate(): Promise<{ folder: string; remove(): Promise<void> }> {
  const parent = await openFolder(tmpdir())
  const folder = join(parent, "postgres")
  const postgres = await startPostgres(folder)
  await migrate(postgres.url)
  await postgres.stop()
  return { folder, remove: () => rm(parent, { recursive: true }) }
}

/**
 * Starts Postgres on a copy of the template's folder, which takes less time than a new database. `stop`
 * removes the copy.
 *
 * @param parent the folder below which the copy is; default: the system's for temporary files
 */
export async function startCopy(template: string, parent = tmpdir()): Promise<LocalPostgres> {
  const folder = await openFolder(parent)
  const copy = join(folder, "postgres")
  // With the owner of the files, which Node's own `cp` does not keep.
  await promisify(execFile)("cp", ["-a", template, copy])
  // The copy remembers the port of the template.
  const postgres = await startPostgres(copy, { port: await freePort() })
  const { stop } = postgres
  postgres.stop = async () => {
    await stop()
    await rm(folder, { recursive: true, force: true })
  }
  return postgres
}

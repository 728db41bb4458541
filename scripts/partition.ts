import { parseArgs } from "node:util"
import { DEPLOY_FILE, readEnvironment } from "../src/local/environment.ts"
import { partitionSignals } from "../src/local/postgres/partition.ts"
import { StartupError } from "../src/local/startup-error.ts"

/** `npm run db:partition` */
async function main(): Promise<void> {
  parseArgs({ options: {} })
  const { DATABASE_URL } = await readEnvironment(DEPLOY_FILE)
  if (!DATABASE_URL)
    throw new StartupError(
      "DATABASE_URL is not set. Set it to the database to change; npm start changes the local database.",
    )
  const { changed, lockedMs } = await partitionSignals(DATABASE_URL)
  console.log(
    changed
      ? `The table signals is now partitioned. Reads and writes waited for at most ${lockedMs} ms.`
      : "The table signals is already partitioned.",
  )
}

await main().catch((error) => {
  console.error((error as Error).message)
  process.exitCode = 1
})

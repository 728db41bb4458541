import { parseArgs } from "node:util"
import { DEPLOY_FILE, readEnvironment } from "../src/local/environment.ts"
import { StartupError } from "../src/local/machine/startup-error.ts"
import { migrate } from "../src/local/postgres/migrate.ts"
import { isPooled } from "../src/local/postgres/migrator.ts"

/** `npm run db:migrate` */
async function main(): Promise<void> {
  parseArgs({ options: {} })
  const { DATABASE_URL } = await readEnvironment(DEPLOY_FILE)
  if (!DATABASE_URL)
    throw new StartupError(
      "DATABASE_URL is not set. Set it, or write it into .env.deploy, which npm start does not read. npm start migrates the local database.",
    )
  if (isPooled(DATABASE_URL))
    console.log("DATABASE_URL names Neon's pooled host. The migrations use the direct host.")
  const applied = await migrate(DATABASE_URL)
  console.log(applied.length === 0 ? "The database is up to date." : ["Applied:", ...applied].join("\n  "))
}

await main().catch((error) => {
  console.error((error as Error).message)
  process.exitCode = 1
})

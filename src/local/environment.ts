import { readFile } from "node:fs/promises"
import { join } from "node:path"
import { parseEnv } from "node:util"
import { ROOT } from "./root.ts"
import { StartupError } from "./startup-error.ts"

/** The settings of the Worker that a person may give; see docs/deploy.md. */
export const SETTINGS = [
  "DATABASE_URL",
  "DATABASE_DEADLINE_MS",
  "DATABASE_MAX_WRITES",
  "DATABASE_MAX_READS",
  "DATABASE_MAX_CONSUMER",
  "API_KEYS",
  "OPEN_ACCESS",
  "SLACK_SIGNING_SECRET",
  "SLACK_SIGNING_SECRET_PREVIOUS",
  "WEBHOOK_SECRET",
  "KAFKA_FIELD_MAPPING",
  "MAX_SIGNALS",
  "MAX_BODY_BYTES",
  "CLOUDFLARE_ACCOUNT_ID",
  "ANALYTICS_API_TOKEN",
] as const

/** Set by `npm start` alone, for what stands in for Neon and Cloudflare. */
type LocalSetting = "DATABASE_HTTP_ENDPOINT" | "ANALYTICS_SQL_ENDPOINT"

export type Environment = Partial<Record<(typeof SETTINGS)[number] | LocalSetting, string>>

/** The settings given in this process's environment, or else in `.dev.vars` beside package.json. */
export async function readEnvironment(): Promise<Environment> {
  const file = parseEnv(await readFile(join(ROOT, ".dev.vars"), "utf8").catch(() => ""))
  const found: Environment = {}
  for (const name of SETTINGS) {
    const value = process.env[name] ?? file[name]
    if (value) found[name] = value
  }
  return found
}

/**
 * The settings as the text of a file for wrangler's `--env-file`, which is read by dotenv and dotenv-expand: quotes keep all but
 * themselves, and a bare `$` would be taken for the name of a variable.
 *
 * @throws {StartupError} a value holds both kinds of quotes that dotenv takes as they are; the value is not part of it
 */
export function envFileText(environment: Environment): string {
  const lines = Object.entries(environment).map(([name, value]) => {
    const quote = ["'", "`"].find((mark) => !value.includes(mark))
    if (!quote) throw new StartupError(`${name} holds both ' and \`, which can't be handed to the Worker.`)
    return `${name}=${quote}${value.replaceAll("$", "\\$")}${quote}\n`
  })
  return lines.join("")
}

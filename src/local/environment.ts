import { readFile } from "node:fs/promises"
import { parseEnv } from "node:util"

/** The settings of the Worker that a person may give; see "Configuration" in the README. */
export const SETTINGS = [
  "DATABASE_URL",
  "DATABASE_DEADLINE_MS",
  "API_KEYS",
  "OPEN_ACCESS",
  "SLACK_SIGNING_SECRET",
  "SLACK_SIGNING_SECRET_PREVIOUS",
  "WEBHOOK_SECRET",
  "MAX_SIGNALS",
  "MAX_BODY_BYTES",
  "CLOUDFLARE_ACCOUNT_ID",
  "ANALYTICS_API_TOKEN",
] as const

export type Environment = Partial<Record<(typeof SETTINGS)[number] | "DATABASE_HTTP_ENDPOINT", string>>

/** The settings given in this process's environment, or else in `.dev.vars` beside package.json. */
export async function readEnvironment(): Promise<Environment> {
  const file = parseEnv(await readFile(new URL("../../.dev.vars", import.meta.url), "utf8").catch(() => ""))
  const found: Environment = {}
  for (const name of SETTINGS) {
    const value = process.env[name] ?? file[name]
    if (value) found[name] = value
  }
  return found
}

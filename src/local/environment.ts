import { readFile } from "node:fs/promises"
import { join } from "node:path"
import { parseEnv } from "node:util"
import { ROOT } from "./root.ts"

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

/**
 * The settings given in this process's environment, or else in `.dev.vars` beside package.json. A `DATABASE_URL` that stands there beside
 * a `DATABASE_HTTP_ENDPOINT` is the local database's own, written for `npx wrangler dev`, and is left out.
 */
export async function readEnvironment(path = join(ROOT, ".dev.vars")): Promise<Environment> {
  const file = parseEnv(await readFile(path, "utf8").catch(() => ""))
  if (file.DATABASE_HTTP_ENDPOINT) delete file.DATABASE_URL
  const found: Environment = {}
  for (const name of SETTINGS) {
    const value = process.env[name] ?? file[name]
    if (value) found[name] = value
  }
  return found
}

import { readFile } from "node:fs/promises"
import { join } from "node:path"
import { parseEnv } from "node:util"
import { ROOT } from "./root.ts"

/**
 * The settings of the Worker that a developer can set: all of `src/config.ts`, except the two of
 * `LocalSetting`. See docs/deploy.md.
 */
export const SETTINGS = [
  "DATABASE_URL",
  "DATABASE_DEADLINE_MS",
  "DATABASE_MAX_WRITES",
  "DATABASE_MAX_READS",
  "DATABASE_MAX_CONSUMER",
  "API_KEYS",
  "OPEN_ACCESS",
  "CORS_ORIGINS",
  "SLACK_SIGNING_SECRET",
  "SLACK_SIGNING_SECRET_PREVIOUS",
  "SLACK_FOLLOW_EDITS",
  "WEBHOOK_SECRET",
  "KAFKA_FIELD_MAPPING",
  "MAX_SIGNALS",
  "MAX_BODY_BYTES",
  "RATE_LIMIT",
  "ADDRESS_RATE_LIMIT",
  "MAX_FUTURE_SECONDS",
  "RETENTION_DAYS",
  "LEDGER_RETENTION_DAYS",
  "CLOUDFLARE_ACCOUNT_ID",
  "ANALYTICS_API_TOKEN",
] as const

/** Only `npm start` sets these: the addresses of what replaces Neon and Analytics Engine on this machine. */
type LocalSetting = "DATABASE_HTTP_ENDPOINT" | "ANALYTICS_SQL_ENDPOINT"

export type Environment = Partial<Record<(typeof SETTINGS)[number] | LocalSetting, string>>

/**
 * Reads the settings from this process's environment, or else from `.dev.vars` beside package.json. Ignores a
 * `DATABASE_URL` beside a `DATABASE_HTTP_ENDPOINT`: that is the local database itself, written for `npx
 * wrangler dev`.
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

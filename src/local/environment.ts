import { readFile } from "node:fs/promises"
import { join } from "node:path"
import { parseEnv } from "node:util"
import { SETTING_NAMES, type SettingTexts } from "../config.ts"
import { ROOT } from "./machine/root.ts"

export type Environment = SettingTexts

/** The owner's connection string for migrations. `npm start` and wrangler do not read this file. */
export const DEPLOY_FILE = join(ROOT, ".env.deploy")

/**
 * Reads the settings from this process's environment, or else from a file: `.dev.vars` beside package.json.
 * Ignores a `DATABASE_URL` beside a `DATABASE_HTTP_ENDPOINT`: that is the local database itself, written for
 * `npx wrangler dev`.
 */
export async function readEnvironment(path = join(ROOT, ".dev.vars")): Promise<Environment> {
  const file = parseEnv(await readFile(path, "utf8").catch(() => ""))
  if (file.DATABASE_HTTP_ENDPOINT) delete file.DATABASE_URL
  const found: Environment = {}
  for (const name of SETTING_NAMES) {
    const value = process.env[name] ?? file[name]
    if (value) found[name] = value
  }
  return found
}

import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest"
import { readEnvironment, SETTINGS } from "../../../src/local/environment.ts"

let folder: string
let file: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "signal-ingest-test-"))
  file = join(folder, ".dev.vars")
  for (const name of SETTINGS) vi.stubEnv(name, undefined)
})
afterEach(async () => {
  vi.unstubAllEnvs()
  await rm(folder, { recursive: true })
})

/**
 * Every setting that the Worker reads. The module's types are those of workerd, which this project of
 * TypeScript does not have.
 */
const { SETTING_NAMES }: { SETTING_NAMES: readonly string[] } = await import(
  new URL("../../../src/config.ts", import.meta.url).href
)

/** Set by npm start, never by a person. */
const LOCAL = ["DATABASE_HTTP_ENDPOINT", "ANALYTICS_SQL_ENDPOINT"]

describe("the settings of npm start", () => {
  it("are all settings that the Worker reads, except the addresses that npm start sets", async () => {
    const wanted = SETTING_NAMES.filter((name) => !LOCAL.includes(name)).toSorted()
    await writeFile(file, wanted.map((name) => `${name}=given\n`).join(""))
    expect(Object.keys(await readEnvironment(file)).toSorted()).toEqual(wanted)
    expect(wanted.length).toBeGreaterThan(10)
  })

  it("come from the environment, and then from .dev.vars", async () => {
    await writeFile(file, 'DATABASE_URL="postgresql://user:a%24b@host/db"\nMAX_SIGNALS=5\nOTHER=1\n')
    vi.stubEnv("MAX_SIGNALS", "6")
    expect(await readEnvironment(file)).toMatchObject({
      DATABASE_URL: "postgresql://user:a%24b@host/db",
      MAX_SIGNALS: "6",
    })
    expect(await readEnvironment(file)).not.toHaveProperty("OTHER")
  })

  it("leave out the local database, which is written for wrangler dev", async () => {
    await writeFile(
      file,
      "DATABASE_URL=postgresql://user:pw@localhost/db\nDATABASE_HTTP_ENDPOINT=http://127.0.0.1:8003/sql\n",
    )
    expect(await readEnvironment(file)).not.toHaveProperty("DATABASE_URL")
  })
})

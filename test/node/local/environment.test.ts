import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest"
import { SETTING_NAMES } from "../../../src/config.ts"
import { readEnvironment } from "../../../src/local/environment.ts"

let folder: string
let file: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "signal-ingest-test-"))
  file = join(folder, ".dev.vars")
  for (const name of SETTING_NAMES) vi.stubEnv(name, undefined)
})
afterEach(async () => {
  vi.unstubAllEnvs()
  await rm(folder, { recursive: true })
})

describe("the settings of npm start", () => {
  it("are all settings that the Worker reads, except the addresses that npm start sets", async () => {
    const local = ["DATABASE_HTTP_ENDPOINT", "ANALYTICS_SQL_ENDPOINT"]
    await writeFile(file, [...SETTING_NAMES, ...local].map((name) => `${name}=given\n`).join(""))
    const read = Object.keys(await readEnvironment(file))
    // The local database's address is in the file, so that its connection string is left out.
    expect(read).toEqual(SETTING_NAMES.filter((name) => name !== "DATABASE_URL"))
    expect(read.length).toBeGreaterThan(10)
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

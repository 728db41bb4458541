import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest"
import { readEnvironment } from "../../../src/local/environment.ts"

let folder: string
let file: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "signal-ingest-test-"))
  file = join(folder, ".dev.vars")
  for (const name of ["DATABASE_URL", "MAX_SIGNALS"]) vi.stubEnv(name, undefined)
})
afterEach(async () => {
  vi.unstubAllEnvs()
  await rm(folder, { recursive: true })
})

describe("the settings of npm start", () => {
  it("come from .dev.vars, and first from the environment", async () => {
    await writeFile(file, 'DATABASE_URL="postgresql://user:a%24b@host/db"\nMAX_SIGNALS=5\nOTHER=1\n')
    vi.stubEnv("MAX_SIGNALS", "6")
    expect(await readEnvironment(file)).toMatchObject({ DATABASE_URL: "postgresql://user:a%24b@host/db", MAX_SIGNALS: "6" })
    expect(await readEnvironment(file)).not.toHaveProperty("OTHER")
  })

  it("leave out the local database, which is there for wrangler dev", async () => {
    await writeFile(file, "DATABASE_URL=postgresql://user:pw@localhost/db\nDATABASE_HTTP_ENDPOINT=http://127.0.0.1:8003/sql\n")
    expect(await readEnvironment(file)).not.toHaveProperty("DATABASE_URL")
  })
})

import { existsSync } from "node:fs"
import { mkdtemp, readFile, realpath, rm, stat } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, expect, it } from "vitest"
import { writeConfigs } from "../../../src/local/wrangler-config.ts"

let folder: string
let service: Record<string, unknown> & { build: { watch_dir: string[] } }
let standIn: Record<string, unknown>
let paths: string[]

beforeAll(async () => {
  folder = await realpath(await mkdtemp(join(tmpdir(), "signal-ingest-test-")))
  paths = await writeConfigs(folder, { pointsUrl: "http://127.0.0.1:1/points", token: "secret" })
  const texts = await Promise.all(paths.map((path) => readFile(path, "utf8")))
  ;[service, standIn] = texts.map((text) => JSON.parse(text)) as [typeof service, typeof standIn]
})
afterAll(() => rm(folder, { recursive: true, force: true }))

it("binds the stand-in where wrangler.toml binds the dataset, and leaves the rest", () => {
  expect(service).not.toHaveProperty("analytics_engine_datasets")
  expect(service.services).toEqual([
    { binding: "METRICS", service: standIn.name, entrypoint: "Dataset", props: { dataset: "signal_ingest_requests" } },
  ])
  expect(service).toMatchObject({
    name: "signal-ingest",
    vars: { MAX_SIGNALS: "10000" },
    ratelimits: [{ name: "RATE_LIMITER" }, { name: "ADDRESS_RATE_LIMITER" }],
  })
})

it("still names the same files", () => {
  for (const path of [service.main, standIn.main, ...service.build.watch_dir] as string[])
    expect(existsSync(join(folder, path)), path).toBe(true)
})

it("keeps the token from other users", async () => {
  for (const path of paths) expect((await stat(path)).mode & 0o077).toBe(0)
})

import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { type LocalService, startLocalService } from "../../setup/local-service.ts"
import { openapiTypescript } from "./generators.ts"

describe("a client that openapi-typescript generates from the description", () => {
  let service: LocalService
  let folder: string
  beforeAll(async () => {
    service = await startLocalService()
    folder = await mkdtemp(join(tmpdir(), "signal-ingest-client-"))
    await writeFile(
      join(folder, "openapi.json"),
      await (await fetch(`${service.address}/openapi.json`)).text(),
    )
  })
  afterAll(async () => {
    await service?.stop()
    if (folder) await rm(folder, { recursive: true, force: true })
  })

  it("compiles, sends a batch and reads it back", async () => {
    expect(await openapiTypescript(folder, service.address)).toEqual({
      successful: 1,
      failed: "signal_score must be between 0 and 1",
      listed: ["2025-01-15T09:30:00.123456Z"],
      state: "stored",
      content: "first",
    })
  })
})

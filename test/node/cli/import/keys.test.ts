import { createHash } from "node:crypto"
import { writeFile } from "node:fs/promises"
import { join } from "node:path"
import { describe, expect, it } from "vitest"
import { storedNumbers, upTo, useEmptyTables, useFolder, useProxy, useRig } from "../../../setup/hooks/rig.ts"
import { run, start } from "./importer.ts"

const key = (name: string, text: string, scopes: string[]) => ({
  name,
  sha256: createHash("sha256").update(text).digest("hex"),
  scopes,
})
/** `former` and `present` are keys of one caller, as when a key is replaced; `other` is another caller. */
const API_KEYS = JSON.stringify([
  key("importer", "former", ["ingest", "read"]),
  key("importer", "present", ["ingest", "read"]),
  key("importer", "writer", ["ingest"]),
  key("other", "other", ["ingest", "read"]),
])

const rig = useRig({ OPEN_ACCESS: "false", API_KEYS })
const proxy = useProxy(rig)
const folder = useFolder()
useEmptyTables(rig)

const IMPORT = ["import", "jsonl", "in.jsonl", "--batch-size", "10"]
const environment = (name: string) => ({ SIGNAL_INGEST_URL: proxy.address, SIGNAL_INGEST_KEY: name })
const importWith = (name: string) => run(folder.path, IMPORT, environment(name))

const writeSource = () =>
  writeFile(
    join(folder.path, "in.jsonl"),
    upTo(3000)
      .map((index) => `${JSON.stringify({ context_window_id: "c", raw_content: String(index) })}\n`)
      .join(""),
  )

/** Stops an import in its middle. */
async function interrupt(signal: "SIGKILL" | "SIGINT"): Promise<void> {
  await writeSource()
  const { child, ended } = start(folder.path, IMPORT, environment("former"))
  await expect.poll(() => proxy.seen.length, { interval: 1 }).toBeGreaterThan(8)
  child.kill(signal)
  await ended
}

describe("an import that was interrupted", () => {
  it.each(["present", "writer"])(
    "continues with another key of its caller, and doubles nothing: %s",
    async (name) => {
      await interrupt("SIGKILL")
      expect(await importWith(name)).toMatchObject({ code: 0, out: expect.stringContaining("3000 stored") })
      expect(await storedNumbers(rig)).toEqual(upTo(3000))
    },
  )

  it("does not continue with the key of another caller while batches may be stored", async () => {
    await interrupt("SIGKILL")
    const { code, err } = await importWith("other")
    expect([code, err]).toEqual([2, expect.stringContaining("was interrupted under another API key")])
    expect(await importWith("former")).toMatchObject({ code: 0 })
    expect(await storedNumbers(rig)).toEqual(upTo(3000))
  })

  it("continues with the key of another caller after an orderly stop", async () => {
    await interrupt("SIGINT")
    expect(await importWith("other")).toMatchObject({ code: 0, out: expect.stringContaining("3000 stored") })
    expect(await storedNumbers(rig)).toEqual(upTo(3000))
  })
})

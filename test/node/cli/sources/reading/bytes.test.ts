import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { gzipSync } from "node:zlib"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { shareOfBytes } from "../../../../../src/cli/sources/reading/bytes.ts"

describe("the part of a file before a byte of its text", () => {
  let folder: string
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "signal-ingest-bytes-"))
  })
  afterAll(() => rm(folder, { recursive: true, force: true }))

  it.each([
    ["UTF-8", Buffer.from("abcd"), 0.5],
    ["gzip", gzipSync("abcd"), undefined],
    ["UTF-16, low byte first", Buffer.from("\uFEFFabcd", "utf16le"), undefined],
    ["UTF-16, high byte first", Buffer.from([0xfe, 0xff, 0, 97]), undefined],
  ])("is known where text and file have the same bytes: %s", async (_, bytes, part) => {
    const path = join(folder, "a")
    await writeFile(path, bytes)
    expect(shareOfBytes(path)?.(2)).toBe(part)
  })
})

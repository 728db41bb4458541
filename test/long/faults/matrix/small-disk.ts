import { execFile } from "node:child_process"
import { chmod, mkdtemp, open, rm, rmdir } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { promisify } from "node:util"

/** A disk that can be full: a small file system of its own. */
export interface SmallDisk {
  path: string
  /** Leaves no byte free. */
  fill(): Promise<void>
  free(): Promise<void>
  remove(): Promise<void>
}

const run = promisify(execFile)

/** @param size such as `2m` or `100k`. @returns undefined where this user may mount no file system */
export async function mountSmallDisk(size: `${number}${"k" | "m"}`): Promise<SmallDisk | undefined> {
  const path = await mkdtemp(join(tmpdir(), "signal-ingest-disk-"))
  await chmod(path, 0o755)
  const mounted = await run("mount", ["-t", "tmpfs", "-o", `size=${size},mode=755`, "none", path]).catch(
    () => undefined,
  )
  if (!mounted) {
    await rmdir(path)
    console.log("skipped: no file system can be mounted here, so the cells of a full disk do not run")
    return undefined
  }
  const filler = join(path, "filler")
  return {
    path,
    async fill() {
      const file = await open(filler, "w")
      try {
        for (let blockBytes = 1024 * 1024; blockBytes >= 1; blockBytes = Math.floor(blockBytes / 32))
          await writeUntilFull(file, Buffer.alloc(blockBytes))
      } finally {
        await file.close()
      }
    },
    free: () => rm(filler, { force: true }),
    async remove() {
      await run("umount", [path])
      await rmdir(path)
    },
  }
}

async function writeUntilFull(file: Awaited<ReturnType<typeof open>>, block: Buffer): Promise<void> {
  try {
    for (;;) if ((await file.write(block)).bytesWritten < block.length) return
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error
  }
}

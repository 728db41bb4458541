import { readFile, rm, writeFile } from "node:fs/promises"
import { join } from "node:path"

/**
 * Keeps other processes of this machine out of a folder. A lock whose process has ended is taken over.
 *
 * @returns what gives the folder free
 * @throws {Error} another process has it
 */
export async function lockFolder(folder: string): Promise<() => Promise<void>> {
  const path = join(folder, "lock")
  for (let attempt = 0; attempt < 2; attempt++) {
    try {
      await writeFile(path, `${process.pid}\n`, { flag: "wx" })
      return () => rm(path, { force: true })
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error
      const holder = Number(await readFile(path, "utf8").catch(() => ""))
      if (isRunning(holder)) throw new Error(`the spool ${folder} is in use by process ${holder}`)
      await rm(path, { force: true })
    }
  }
  throw new Error(`the spool ${folder} is in use`)
}

function isRunning(pid: number): boolean {
  if (!Number.isInteger(pid) || pid < 1) return false
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    // Somebody else's process is one, too.
    return (error as NodeJS.ErrnoException).code === "EPERM"
  }
}

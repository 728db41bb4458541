import { execFile } from "node:child_process"
import { promisify } from "node:util"

/** Whether a process has this id, be it one that has ended and waits for its parent to take note. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM"
  }
}

/** The command line of a process; undefined when it can't be told. One that has ended has none of its own any more. */
export async function commandOf(pid: number): Promise<string | undefined> {
  return await promisify(execFile)("ps", ["-ww", "-p", String(pid), "-o", "args="]).then(
    ({ stdout }) => stdout,
    // Without a process of this id, ps says so by its exit code; a machine without ps has none at all.
    ({ code }) => (code === 1 ? "" : undefined),
  )
}

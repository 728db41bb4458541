import { execFile } from "node:child_process"
import { promisify } from "node:util"

/** Whether a process has this id. An ended process counts until its parent has collected it. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM"
  }
}

/** The command line of a process; "" when it has ended, undefined when this machine has no `ps`. */
export async function commandOf(pid: number): Promise<string | undefined> {
  return await promisify(execFile)("ps", ["-ww", "-p", String(pid), "-o", "args="]).then(
    ({ stdout }) => stdout,
    // ps exits with 1 when no process has this id.
    ({ code }) => (code === 1 ? "" : undefined),
  )
}

import { execFile } from "node:child_process"
import { readFile } from "node:fs/promises"
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

/** The command line of a process; "" when it has ended, undefined when this machine cannot report it. */
export async function commandOf(pid: number): Promise<string | undefined> {
  // Linux. A container often has no ps. The text of an ended process that nobody has collected is empty.
  const text = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => undefined)
  if (text !== undefined) return text.replaceAll("\0", " ").trim()
  return await promisify(execFile)("ps", ["-ww", "-p", String(pid), "-o", "args="]).then(
    ({ stdout }) => stdout,
    // ps exits with 1 when no process has this id.
    ({ code }) => (code === 1 ? "" : undefined),
  )
}

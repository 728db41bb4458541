import { execFile, execFileSync } from "node:child_process"
import { promisify } from "node:util"

interface Process {
  pid: number
  parent: number
  command: string
}

/** What runs on this machine; not what has ended and is a zombie until its parent takes note. */
async function processes(): Promise<Process[]> {
  const { stdout } = await promisify(execFile)("ps", ["-ww", "-e", "-o", "pid=,ppid=,stat=,args="])
  return stdout
    .trim()
    .split("\n")
    .map((line) => /^\s*(\d+)\s+(\d+)\s+(\S+)\s+(.*)$/.exec(line) ?? [])
    .filter(([, , , state]) => state !== undefined && !state.startsWith("Z"))
    .map(([, pid, parent, , command = ""]) => ({ pid: Number(pid), parent: Number(parent), command }))
}

export const isRunning = async (pid: number) => (await processes()).some((one) => one.pid === pid)

/** The processes below one, whatever their depth. */
export async function descendants(pid: number): Promise<Process[]> {
  const all = await processes()
  const below = (parent: number): Process[] =>
    all.filter((one) => one.parent === parent).flatMap((one) => [one, ...below(one.pid)])
  return below(pid)
}

/**
 * Sends a signal to a process and to all below it: a server that is stopped alone leaves those at work. One
 * that has ended meanwhile, such as a Postgres process with a task of its own, gets none.
 */
export async function signalAll(pid: number, signal: NodeJS.Signals): Promise<void> {
  process.kill(pid, signal)
  for (const child of await descendants(pid)) {
    try {
      process.kill(child.pid, signal)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error
    }
  }
}

/** Those that still run. */
export async function stillRunning(some: readonly Process[]): Promise<string[]> {
  const all = await processes()
  return all
    .filter(({ pid, command }) => some.some((one) => one.pid === pid && one.command === command))
    .map(({ command }) => command)
}

/** Whether a program that a test needs is on this machine. Says so where it is not. */
export function has(command: string, ...args: string[]): boolean {
  try {
    execFileSync(command, args, { stdio: "ignore" })
    return true
  } catch {
    console.log(`skipped: ${command} ${args.join(" ")} does not run on this machine`)
    return false
  }
}

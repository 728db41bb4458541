import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { bareEnvironment, commandLine } from "../command-line.ts"

export interface Run {
  child: ChildProcess
  /** What it has said so far. */
  said: { out: string; err: string }
  /** Its exit code; null when a signal ended it. */
  ended: Promise<number | null>
}

/** Runs the command line in a folder, as a person does. */
export function start(folder: string, args: readonly string[], env: Record<string, string> = {}): Run {
  const child = spawn(process.execPath, commandLine(...args), {
    cwd: folder,
    env: bareEnvironment(env),
    stdio: ["pipe", "pipe", "pipe"],
  })
  const said = { out: "", err: "" }
  child.stdout.setEncoding("utf8").on("data", (text: string) => (said.out += text))
  child.stderr.setEncoding("utf8").on("data", (text: string) => (said.err += text))
  return { child, said, ended: once(child, "close").then(([code]) => code as number | null) }
}

export async function run(
  folder: string,
  args: readonly string[],
  env: Record<string, string> = {},
  input = "",
): Promise<{ code: number | null; out: string; err: string }> {
  const { child, said, ended } = start(folder, args, env)
  child.stdin?.end(input)
  const code = await ended
  return { code, ...said }
}

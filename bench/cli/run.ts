import { spawn } from "node:child_process"
import { once } from "node:events"
import { fileURLToPath } from "node:url"

const MAIN = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url))

/** Prints the most memory that a process had, when it ends. */
const TELL_MEMORY = `data:text/javascript,process.on("exit",()=>process.stderr.write("\\nmaxRSS "+process.resourceUsage().maxRSS+"\\n"))`

export interface Ran {
  seconds: number
  peakMiB: number
  /** What it printed. */
  said: string
}

interface RunOptions {
  folder: string
  /** The address of the service. */
  address: string
  nodeOptions?: readonly string[]
}

/** Runs `signals` in a process of its own. @throws {Error} its exit code is not 0 */
export async function runSignals(
  args: readonly string[],
  { folder, address, nodeOptions = [] }: RunOptions,
): Promise<Ran> {
  const startedAt = performance.now()
  const child = spawn(process.execPath, [...nodeOptions, "--import", TELL_MEMORY, MAIN, ...args, "--quiet"], {
    cwd: folder,
    env: { ...process.env, SIGNAL_INGEST_URL: address },
    stdio: ["ignore", "pipe", "pipe"],
  })
  let said = ""
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding("utf8").on("data", (text: string) => (said += text))
  const [code] = await once(child, "close")
  if (code !== 0) throw new Error(`signals ${args.join(" ")} ended with ${code}: ${said}`)
  return {
    seconds: (performance.now() - startedAt) / 1000,
    peakMiB: Number(/maxRSS (\d+)/.exec(said)?.[1]) / 1024,
    said,
  }
}

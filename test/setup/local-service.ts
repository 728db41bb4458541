import { spawn } from "node:child_process"
import { once } from "node:events"
import { chmod, mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { SETTING_NAMES } from "../../src/config.ts"
import { freePort } from "../../src/local/machine/ports.ts"

/** The service as `npm start` runs it, on a free port with data of its own. */
export interface LocalService {
  address: string
  /** How to reach its database with a client of Postgres'. */
  databaseUrl: string
  stop(): Promise<void>
}

/**
 * Empty settings, so that a developer's own environment and .dev.vars can't reach the tests, nor the tests
 * their database.
 */
const NO_SETTINGS = Object.fromEntries(SETTING_NAMES.map((name) => [name, ""]))

export async function startLocalService(settings: Record<string, string> = {}): Promise<LocalService> {
  const folder = await mkdtemp(join(tmpdir(), "signal-ingest-test-"))
  // Started as root, Postgres runs as another user, who has to pass through.
  await chmod(folder, 0o755)
  const port = await freePort()
  const child = spawn("npm", ["start", "--", "--port", String(port), "--data", folder], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...NO_SETTINGS, ...settings },
  })
  const ended = once(child, "close")
  const said = await new Promise<string>((resolve, reject) => {
    let text = ""
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding("utf8").on("data", (part: string) => {
        text += part
        if (text.includes("Press Ctrl-C to stop.")) resolve(text)
      })
    void ended.then(() => reject(new Error(`npm start has ended: ${text}`)))
  })
  return {
    address: `http://localhost:${port}`,
    databaseUrl: /psql (\S+)/.exec(said)?.[1] ?? "",
    async stop() {
      child.kill("SIGTERM")
      await ended
      await rm(folder, { recursive: true, force: true })
    },
  }
}

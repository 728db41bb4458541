import { type ChildProcess, execFile, spawn } from "node:child_process"
import { createHash } from "node:crypto"
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { promisify } from "node:util"
import { freePort } from "../../src/local/machine/ports.ts"
import { ROOT } from "../../src/local/machine/root.ts"
import type { Peer } from "./peers.ts"

const INSTALL_MS = 600_000
const START_MS = 30_000

export interface RunningPeer {
  address: string
  pid: number
  stop(): Promise<void>
}

/** Why a peer can't be measured here: its language or its packages are not to be had. */
export class NotInstalled extends Error {}

/**
 * Copies a peer into `.peers`, which git ignores, and installs it there, unless just these files are
 * installed already.
 *
 * @throws {NotInstalled}
 */
export async function installPeer({ name, install }: Peer): Promise<string> {
  const source = join(ROOT, "bench/peers", name)
  const folder = join(ROOT, ".peers", name)
  const digest = digestOf(source)
  const mark = join(folder, ".installed")
  if (existsSync(mark) && readFileSync(mark, "utf8") === digest) return folder
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  cpSync(source, folder, { recursive: true })
  // What Prisma's generator would download, it does not run.
  const env = { ...process.env, PRISMA_SCHEMA_ENGINE_BINARY: "/bin/true", PRISMA_HIDE_UPDATE_MESSAGE: "true" }
  for (const [command = "", ...args] of install)
    await promisify(execFile)(command, args, { cwd: folder, env, timeout: INSTALL_MS }).catch((error) => {
      const said = String(error.stderr || error.message).trim()
      throw new NotInstalled(`${[command, ...args].join(" ")}: ${said.split("\n").at(-1)}`)
    })
  writeFileSync(mark, digest)
  return folder
}

function digestOf(folder: string): string {
  const hash = createHash("sha256")
  for (const name of readdirSync(folder).sort())
    hash.update(`${name}\n`).update(readFileSync(join(folder, name)))
  return hash.digest("hex")
}

/** Starts an installed peer, and waits until it answers. */
export async function startPeer(peer: Peer, folder: string, databaseUrl: string): Promise<RunningPeer> {
  const port = String(await freePort())
  const [command = "", ...args] = peer.start(port)
  const env = { ...process.env, PORT: port, DATABASE_URL: databaseUrl }
  const child = spawn(command, args, { cwd: folder, env, stdio: ["ignore", "ignore", "inherit"] })
  const ended = new Promise<void>((resolve) => child.once("close", () => resolve()))
  const address = `http://127.0.0.1:${port}`
  await waitUntilAlive(peer, child, address)
  return {
    address,
    pid: child.pid ?? 0,
    async stop() {
      child.kill("SIGTERM")
      await ended
    },
  }
}

async function waitUntilAlive({ name }: Peer, child: ChildProcess, address: string): Promise<void> {
  for (
    const startedAt = performance.now();
    performance.now() - startedAt < START_MS && child.exitCode === null;
    await sleep(50)
  ) {
    // Any answer will do: not every peer has a route for this.
    const answer = await fetch(`${address}/healthz`).catch(() => undefined)
    await answer?.arrayBuffer()
    if (answer) return
  }
  child.kill("SIGKILL")
  throw new Error(`${name} did not start`)
}

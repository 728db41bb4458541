import { type ChildProcess, execFileSync, spawn } from "node:child_process"
import { once } from "node:events"
import { existsSync, readdirSync } from "node:fs"
import { chmod, chown, mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { freePort } from "../../../src/local/machine/ports.ts"
import { serverUser } from "../../../src/local/postgres/server.ts"
import { queryAt } from "../../setup/rig.ts"

/** Where Debian's package postgresql has its programs. */
const VERSIONS = "/usr/lib/postgresql"
const OLDEST = 15

/** The folder with the programs of the newest such version; undefined where there is none from 15 on. */
export function debianPrograms(): string | undefined {
  const versions = existsSync(VERSIONS) ? readdirSync(VERSIONS).map(Number) : []
  const newest = Math.max(...versions.filter((version) => existsSync(`${VERSIONS}/${version}/bin/postgres`)))
  return newest >= OLDEST ? `${VERSIONS}/${newest}/bin` : undefined
}

/** A server of Debian's version, with one superuser. */
export interface DebianPostgres {
  url: string
  stop(): Promise<void>
}

/** Starts a server in a new folder, which goes with it. */
export async function startDebianPostgres(programs: string): Promise<DebianPostgres> {
  const user = process.getuid?.() === 0 ? await serverUser({ create: true }) : undefined
  const folder = await mkdtemp(join(tmpdir(), "signal-ingest-debian-"))
  await chmod(folder, 0o755)
  if (user) await chown(folder, user.uid, user.gid)
  const data = join(folder, "data")
  const options = { ...user, stdio: "ignore" as const, env: { PATH: programs, LC_ALL: "C.UTF-8" } }
  execFileSync(`${programs}/initdb`, ["-D", data, "-U", "owner", "-A", "trust", "-E", "UTF8"], options)
  const port = await freePort()
  const child = spawn(
    `${programs}/postgres`,
    ["-D", data, "-p", String(port), "-k", folder, "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"],
    options,
  )
  const url = `postgresql://owner:none@localhost:${port}/postgres`
  await answers(child, url)
  return {
    url,
    async stop() {
      const ended = once(child, "exit")
      child.kill("SIGINT")
      await ended
      await rm(folder, { recursive: true, force: true })
    },
  }
}

async function answers(child: ChildProcess, url: string): Promise<void> {
  while (child.exitCode === null) {
    if (await queryAt(url, "select 1").catch(() => undefined)) return
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  throw new Error(`postgres ended with ${child.exitCode}`)
}

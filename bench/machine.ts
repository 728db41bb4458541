import { createRequire } from "node:module"
import { arch, cpus, platform, release, totalmem } from "node:os"
import type pg from "pg"

/** What the figures were measured on, in two lines. */
export async function describeMachine(admin: pg.Client): Promise<string> {
  const require = createRequire(import.meta.url)
  const { rows } = await admin.query<{ server_version: string }>("show server_version")
  const processors = cpus()
  const gibibytes = Math.round(totalmem() / 1024 ** 3)
  return [
    `${processors.length} cores (${processors[0]?.model.trim()}), ${gibibytes} GiB, ${platform()} ${release()} ${arch()}`,
    `Node ${process.versions.node}, workerd ${require("workerd/package.json").version}, Postgres ${rows[0]?.server_version}`,
  ].join("\n")
}

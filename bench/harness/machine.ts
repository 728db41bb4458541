import { createRequire } from "node:module"
import { arch, cpus, loadavg, platform, release, totalmem } from "node:os"
import type pg from "pg"
import { makeSignals } from "./signals.ts"
import { median } from "./statistics.ts"

/**
 * Describes the machine in three lines. The last line helps to distinguish a slow or busy machine from a slow
 * service.
 */
export async function describeMachine(admin: pg.Client): Promise<string> {
  const require = createRequire(import.meta.url)
  const { rows } = await admin.query<{ server_version: string }>("show server_version")
  const processors = cpus()
  const gibibytes = Math.round(totalmem() / 1024 ** 3)
  return [
    `${processors.length} cores (${processors[0]?.model.trim()}), ${gibibytes} GiB, ${platform()} ${release()} ${arch()}`,
    `Node ${process.versions.node}, workerd ${require("workerd/package.json").version}, Postgres ${rows[0]?.server_version}`,
    `load ${loadavg()[0]?.toFixed(1)} before the start; Node reads 500 signals of JSON in ${readingMs().toFixed(2)} ms`,
  ].join("\n")
}

/** The time of a fixed computation, to compare runs. */
function readingMs(): number {
  const text = JSON.stringify({ signals: makeSignals(500) })
  const times = Array.from({ length: 300 }, () => {
    const startedAt = performance.now()
    JSON.parse(text)
    return performance.now() - startedAt
  })
  return median(times)
}

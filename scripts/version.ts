import { execFileSync } from "node:child_process"
import { readFile, writeFile } from "node:fs/promises"
import { join } from "node:path"

/**
 * The lifecycle script of `npm version`: writes the version of package.json into every other file that has
 * it, so that both libraries, the documentation and the changelog move together.
 */

const ROOT = join(import.meta.dirname, "..")

/** Each file with the version, and the text around it: the first match of the pattern is replaced. */
export const VERSIONED: Record<string, RegExp> = {
  "python/pyproject.toml": /(?<=^version = ")[^"]+/m,
  "python/src/signal_ingest/__init__.py": /(?<=^__version__ = ")[^"]+/m,
  "docs/client.md": /(?<=npm install \.\/signal-ingest-).+(?=\.tgz)/,
}

/** @returns the changelog with everything unreleased under the heading of the version */
export const released = (changelog: string, version: string, date: string): string =>
  changelog.replace("## [Unreleased]\n", `## [Unreleased]\n\n## [${version}] - ${date}\n`)

if (import.meta.main) {
  const { version } = JSON.parse(await readFile(join(ROOT, "package.json"), "utf8")) as { version: string }
  const change = async (path: string, changed: (text: string) => string) =>
    writeFile(join(ROOT, path), changed(await readFile(join(ROOT, path), "utf8")))
  for (const [path, pattern] of Object.entries(VERSIONED))
    await change(path, (text) => text.replace(pattern, version))
  await change("CHANGELOG.md", (text) => released(text, version, new Date().toISOString().slice(0, 10)))
  // `npm version` commits what is staged.
  execFileSync("git", ["add", "CHANGELOG.md", ...Object.keys(VERSIONED)], { cwd: ROOT })
}

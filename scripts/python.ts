// npm run python [-- --all] [-- PYTEST_ARGUMENTS]: tests the Python library with every Python from 3.10 on
// that the machine has. The newest runs every test, the types and the style; the oldest the tests that need
// no service; those between the files that depend most on the version, or with --all the same as the oldest.
import { execFileSync, spawnSync } from "node:child_process"
import { existsSync, readdirSync } from "node:fs"
import { homedir } from "node:os"
import { delimiter, join, resolve } from "node:path"

const ROOT = resolve(import.meta.dirname, "..")
const PYTHON = join(ROOT, "python")
const CACHE = join(ROOT, "node_modules/.cache/python")
const OLDEST_MINOR = 10
const NEWEST_MINOR = 14
const UV_VERSION = "0.13.9"
const BY_VERSION = ["encode", "wire", "processor", "fork"].map((name) => `tests/test_${name}.py`)

const options = process.argv.slice(2)
const all = options.includes("--all")
const pytestArguments = options.filter((option) => option !== "--all")

const pythons = findPythons()
if (pythons.length === 0) {
  console.log("skipped: this machine has no Python from 3.10 on with venv and pip")
} else {
  const [newest, ...others] = pythons
  console.log(`Python ${pythons.map(({ version }) => version).join(", ")}`)
  const failed = [
    newest && testWhole(newest.path, newest.version),
    ...others.map((one) => testCore(one, one !== others.at(-1))),
  ]
  if (failed.some((code) => code !== 0)) process.exitCode = 1
}

/** Each version once, newest first. Shims of pyenv that lead nowhere do not answer. */
function findPythons(): { path: string; version: string }[] {
  const pyenv = join(process.env.PYENV_ROOT ?? join(homedir(), ".pyenv"), "versions")
  const folders = [
    ...(process.env.PATH ?? "").split(delimiter),
    ...(existsSync(pyenv) ? readdirSync(pyenv).map((name) => join(pyenv, name, "bin")) : []),
  ]
  const found = new Map<string, string>()
  for (let minor = NEWEST_MINOR; minor >= OLDEST_MINOR; minor--)
    for (const folder of folders) {
      const path = join(folder, `python3.${minor}`)
      const version = `3.${minor}`
      if (!found.has(version) && existsSync(path) && hasVenv(path)) found.set(version, path)
    }
  return [...found].map(([version, path]) => ({ path, version }))
}

function hasVenv(path: string): boolean {
  return (
    spawnSync(path, ["-c", "import venv, ensurepip, sys; assert sys.version_info >= (3, 10)"]).status === 0
  )
}

/** Makes an environment of its own for a Python, with the pinned packages and the library as it is here. */
function environment(path: string, version: string, ...requirements: string[]): string {
  const folder = join(CACHE, version)
  const python = join(folder, "bin/python")
  const run = (...command: string[]) =>
    execFileSync(python, ["-m", ...command], { cwd: PYTHON, stdio: "inherit" })
  if (!existsSync(python)) execFileSync(path, ["-m", "venv", folder], { stdio: "inherit" })
  // uv installs in seconds what takes pip a minute.
  run("pip", "install", "-q", "--disable-pip-version-check", `uv==${UV_VERSION}`)
  for (const list of requirements) run("uv", "pip", "install", "-q", "--python", python, "-r", list)
  run("uv", "pip", "install", "-q", "--python", python, "--no-build-isolation", "-e", ".")
  return python
}

function testWhole(path: string, version: string): number {
  const python = environment(path, version, "requirements-dev.txt", ...(all ? ["requirements-long.txt"] : []))
  const run = (...command: string[]) => {
    console.log(`\nPython ${version}: ${command.join(" ")}`)
    return spawnSync(python, ["-m", ...command], { cwd: PYTHON, stdio: "inherit" }).status ?? 1
  }
  const checks = [
    ["ruff", "check", "."],
    ["ruff", "format", "--check", "."],
    ["mypy"],
    ["pyright", "--warnings"],
    ["pytest", "-n", "2", ...(all ? [] : ["-m", "not long"]), ...pytestArguments],
  ]
  return checks.map((command) => run(...command)).find((code) => code !== 0) ?? 0
}

function testCore({ path, version }: { path: string; version: string }, isBetween: boolean): number {
  const python = environment(path, version, "requirements-test.txt")
  console.log(`\nPython ${version}: tests that need no service`)
  const marks = all ? "not service" : "not service and not long"
  const chosen = ["-n", "2", "-m", marks, ...(isBetween && !all ? BY_VERSION : []), ...pytestArguments]
  return spawnSync(python, ["-m", "pytest", ...chosen], { cwd: PYTHON, stdio: "inherit" }).status ?? 1
}

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
    ...(newest && !testWhole(newest) ? [newest] : []),
    ...others.filter((one) => !testCore(one, one !== others.at(-1))),
  ]
  if (failed.length > 0) {
    console.log(`Failed with Python ${failed.map(({ version }) => version).join(", ")}`)
    process.exitCode = 1
  }
}

interface Python {
  path: string
  version: string
}

/** Each version once, newest first. Shims of pyenv that lead nowhere do not answer. */
function findPythons(): Python[] {
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

/**
 * Makes an environment of its own for a Python, with the pinned packages and the library as it is here.
 *
 * @returns the path of its Python; undefined, after a sentence, where a package cannot be installed
 */
function environment({ path, version }: Python, ...requirements: string[]): string | undefined {
  const folder = join(CACHE, version)
  const python = join(folder, "bin/python")
  if (!existsSync(python)) execFileSync(path, ["-m", "venv", folder], { stdio: "inherit" })
  // uv installs in seconds what takes pip a minute, but it does not read the settings of pip.
  const hasUv = run(python, "pip", "install", "-q", "--disable-pip-version-check", `uv==${UV_VERSION}`)
  const install = (...what: string[]) =>
    (hasUv && run(python, "uv", "pip", "install", "-q", "--python", python, ...what)) ||
    run(python, "pip", "install", "-q", "--disable-pip-version-check", ...what)
  if (requirements.every((list) => install("-r", list)) && install("--no-build-isolation", "-e", "."))
    return python
  console.log(
    `Not tested with Python ${version}: its packages cannot be installed. pip says why above. ` +
      "Make an index of packages reachable, for example with PIP_INDEX_URL, and run this again.",
  )
  return undefined
}

/** Whether a module of a Python succeeds. */
function run(python: string, ...command: string[]): boolean {
  return spawnSync(python, ["-m", ...command], { cwd: PYTHON, stdio: "inherit" }).status === 0
}

function testWhole(one: Python): boolean {
  const python = environment(one, "requirements-dev.txt", ...(all ? ["requirements-long.txt"] : []))
  if (python === undefined) return false
  const checks = [
    ["ruff", "check", "."],
    ["ruff", "format", "--check", "."],
    ["mypy"],
    ["pyright", "--warnings", "--pythonpath", python],
    ["pytest", "-n", "2", ...(all ? [] : ["-m", "not long"]), ...pytestArguments],
  ]
  const failed = checks.filter((command) => {
    console.log(`\nPython ${one.version}: ${command.join(" ")}`)
    return !run(python, ...command)
  })
  return failed.length === 0
}

function testCore(one: Python, isBetween: boolean): boolean {
  const python = environment(one, "requirements-test.txt")
  if (python === undefined) return false
  console.log(`\nPython ${one.version}: tests that need no service`)
  const marks = all ? "not service" : "not service and not long"
  const chosen = ["-n", "2", "-m", marks, ...(isBetween && !all ? BY_VERSION : []), ...pytestArguments]
  return run(python, "pytest", ...chosen)
}

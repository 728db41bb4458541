import { execFile } from "node:child_process"
import { copyFile, symlink, writeFile } from "node:fs/promises"
import { homedir } from "node:os"
import { join } from "node:path"
import { promisify } from "node:util"
import { ROOT } from "../../../src/local/machine/root.ts"

const JAR = "org/openapitools/openapi-generator-cli/7.25.0/openapi-generator-cli-7.25.0.jar"
const PYTHON_PACKAGES = [
  "openapi-python-client==0.29.1",
  "python-dateutil==4.0.0",
  "pydantic==2.14.3",
  "urllib3==2.8.0",
  "typing-extensions==4.16.0",
]

/**
 * What a client of `clients/` prints: it has sent a batch of two signals, and read one of them back by every
 * kind of id.
 */
interface Printed {
  successful: number
  failed?: string
  listed: string[]
  state: string
  content: string
}

/**
 * Makes a client from `folder/openapi.json`, compiles it, and runs a program on it that calls the service at
 * `address`.
 */
export type Generator = (folder: string, address: string) => Promise<Printed>

const CLIENTS = join(import.meta.dirname, "clients")
const bin = (name: string) => join(ROOT, "node_modules/.bin", name)

/** Its output; an error that says what a failed program printed. */
async function run(
  command: string,
  args: string[],
  folder: string,
  environment: NodeJS.ProcessEnv = {},
): Promise<string> {
  const env = { ...process.env, ...environment }
  const options = { cwd: folder, env, maxBuffer: 64 * 1024 * 1024 }
  const { stdout } = await promisify(execFile)(command, args, options).catch(
    (error: Error & { stdout?: string; stderr?: string }) => {
      throw new Error(`${command} ${args[0]}: ${error.message}\n${error.stdout ?? ""}${error.stderr ?? ""}`)
    },
  )
  return stdout
}

const compile = (folder: string, file: string, options: string[]) =>
  run(
    bin("tsc"),
    ["--noEmit", "--strict", "--target", "es2024", "--lib", "esnext,dom", ...options, file],
    folder,
  )

const generate = (folder: string, kind: string, target: string) =>
  run(
    "java",
    [
      "-jar",
      join(homedir(), ".m2/repository", JAR),
      "generate",
      "-i",
      "openapi.json",
      "-g",
      kind,
      "-o",
      target,
    ],
    folder,
  )

export const openapiTypescript: Generator = async (folder, address) => {
  const file = "openapi-typescript.ts"
  await symlink(join(ROOT, "node_modules"), join(folder, "node_modules"))
  await writeFile(join(folder, "package.json"), `{"type": "module"}`)
  await writeFile(
    join(folder, "api.d.ts"),
    await run(process.execPath, [join(import.meta.dirname, "print-types.ts"), "openapi.json"], folder),
  )
  await copyFile(join(CLIENTS, file), join(folder, file))
  await compile(folder, file, ["--module", "nodenext", "--types", "node", "--allowImportingTsExtensions"])
  return JSON.parse(await run(process.execPath, [file, address], folder))
}

export const typescriptFetch: Generator = async (folder, address) => {
  const file = "typescript-fetch.ts"
  await generate(folder, "typescript-fetch", "generated")
  await copyFile(join(CLIENTS, file), join(folder, file))
  await compile(folder, file, ["--module", "esnext", "--moduleResolution", "bundler"])
  await run(
    bin("esbuild"),
    [file, "--bundle", "--format=esm", "--outfile=client.mjs", "--log-level=warning"],
    folder,
  )
  return JSON.parse(await run(process.execPath, ["client.mjs", address], folder))
}

const python = (folder: string) => join(folder, "python/bin/python")

async function preparePython(folder: string): Promise<void> {
  await run("python3", ["-m", "venv", "python"], folder)
  await run(python(folder), ["-m", "pip", "install", "--quiet", ...PYTHON_PACKAGES], folder)
}

export const openapiPythonClient: Generator = async (folder, address) => {
  await preparePython(folder)
  const args = ["generate", "--path", "openapi.json", "--output-path", "generated"]
  await run(join(folder, "python/bin/openapi-python-client"), args, folder)
  return JSON.parse(
    await run(python(folder), [join(CLIENTS, "openapi_python_client.py"), address], folder, {
      PYTHONPATH: "generated",
    }),
  )
}

export const openapiGeneratorPython: Generator = async (folder, address) => {
  await preparePython(folder)
  await generate(folder, "python", "generated")
  return JSON.parse(
    await run(python(folder), [join(CLIENTS, "openapi_generator_python.py"), address], folder, {
      PYTHONPATH: "generated",
    }),
  )
}

/** Brings openapi-generator into Maven's local repository. */
export const fetchOpenapiGenerator = (folder: string) =>
  run(
    "mvn",
    [
      "-q",
      "dependency:get",
      "-Dartifact=org.openapitools:openapi-generator-cli:7.25.0",
      "-Dtransitive=false",
    ],
    folder,
  )

/** True when the machine has the program. */
export const has = (command: string) =>
  run(command, ["--version"], ".").then(
    () => true,
    () => false,
  )

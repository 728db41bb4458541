import { spawn } from "node:child_process"
import { once } from "node:events"
import { chmod, mkdir, readdir } from "node:fs/promises"
import { join } from "node:path"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { freePort } from "../../../src/local/machine/ports.ts"
import { ROOT } from "../../../src/local/machine/root.ts"
import { descendants, stillRunning } from "../../setup/processes.ts"
import { mountSmallDisk } from "../faults/matrix/small-disk.ts"
import { dataFolder, endAll, NO_SETTINGS, READY, run, start } from "./npm-start.ts"

const IS_ROOT = process.getuid?.() === 0

let folder: string
let port: number

beforeEach(async () => {
  folder = await dataFolder()
  port = await freePort()
})
afterEach(() => endAll(folder), 60_000)

const here = (data = folder) => ["--port", String(port), "--data", data]

describe("npm start", { timeout: 180_000 }, () => {
  it.runIf(IS_ROOT)("ends with a sentence when its user cannot write the project's folder", async () => {
    // The user nobody, who owns the data folder alone.
    const data = join(folder, "data")
    await mkdir(data)
    await chmod(data, 0o777)
    const as = ["--reuid=65534", "--regid=65534", "--clear-groups"]
    const command = [process.execPath, `${ROOT}src/local/launch.mjs`, ...here(data)]
    const { said, ended } = run("setpriv", [...as, ...command], { HOME: data })
    expect(await ended).toBe(1)
    expect(said.text).toContain(
      `npm start writes into ${join(ROOT, ".wrangler/tmp")}, which this user cannot write.`,
    )
    expect(said.text).not.toContain("falsy value")
  })

  it("ends in order when its terminal is closed", async () => {
    // `script` opens a terminal; its end closes it, and the shell's processes get SIGHUP.
    const command = `${process.execPath} ${ROOT}src/local/start.ts ${here().join(" ")}`
    const terminal = spawn("script", ["--quiet", "--return", "--command", command, "/dev/null"], {
      stdio: ["pipe", "pipe", "inherit"],
      env: { ...process.env, ...NO_SETTINGS },
    })
    let text = ""
    const ready = new Promise<void>((resolve) =>
      terminal.stdout.setEncoding("utf8").on("data", (part: string) => {
        text += part
        if (text.includes(READY)) resolve()
      }),
    )
    await ready
    const started = await descendants(terminal.pid ?? 0)
    terminal.kill("SIGKILL")
    await once(terminal, "exit")
    await expect.poll(() => stillRunning(started)).toEqual([])
    expect(await readdir(folder)).not.toContain("npm-start.json")
  })

  it("stops in order when nobody reads its output any more", async () => {
    const { child, ended, saying, processes } = start(here())
    await saying(READY)
    const started = await processes()
    child.stdout.destroy()
    child.stderr.destroy()
    // The line of a request finds the closed pipe.
    await fetch(`http://localhost:${port}/api/signals`).catch(() => {})
    expect(await ended).toBe(0)
    await expect.poll(() => stillRunning(started)).toEqual([])
  })

  it("reports that the disk is full, and leaves no file behind", async () => {
    const disk = await mountSmallDisk("12m")
    if (!disk) return
    try {
      const { said, ended } = start(here(join(disk.path, "data")))
      expect(await ended).toBe(1)
      expect(said.text).toMatch(/^The database could not be created: .*No space left on device/m)
      expect(await readdir(join(disk.path, "data"))).toEqual(["postgres"])
    } finally {
      await disk.remove()
    }
  })

  it.runIf(IS_ROOT)("names a data folder that nobody can write", async () => {
    const disk = await mountSmallDisk("1m")
    if (!disk) return
    try {
      const data = join(disk.path, "data")
      await mkdir(data)
      await once(spawn("mount", ["-o", "remount,ro", disk.path]), "exit")
      const { said, ended } = start(here(data))
      expect(await ended).toBe(1)
      expect(said.text).toBe(
        `The data folder ${data} can't be used: EROFS: read-only file system, open '${data}/npm-start.json'.\n`,
      )
    } finally {
      await disk.remove()
    }
  })
})

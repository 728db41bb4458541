import { execFile, spawn } from "node:child_process"
import { createHash } from "node:crypto"
import { once } from "node:events"
import { closeSync, openSync } from "node:fs"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { SignalClient } from "../../../../src/client/index.ts"
import { type Rig, startRig } from "../../../setup/rig.ts"
import { bareEnvironment, commandLine } from "../command-line.ts"

const API_KEYS = JSON.stringify([
  {
    name: "root",
    scopes: ["ingest", "read", "bridge", "admin"],
    sha256: createHash("sha256").update("root").digest("hex"),
  },
])

let rig: Rig

beforeAll(async () => {
  rig = await startRig({ OPEN_ACCESS: "false", API_KEYS })
})
afterAll(() => rig?.stop())

const clientOf = (key: string) => new SignalClient({ url: rig.service.address, key })

function keys(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const env = bareEnvironment({ SIGNAL_INGEST_URL: rig.service.address, SIGNAL_INGEST_KEY: "root" })
  return new Promise((resolve) => {
    execFile(process.execPath, commandLine("keys", ...args), { env }, (error, out, err) =>
      resolve({ code: error ? Number(error.code) : 0, out, err }),
    )
  })
}

const keyIn = (out: string) => /si_live_\w{49}/.exec(out)?.[0] ?? ""
const idIn = (out: string) => /Id: {2}(\S+)/.exec(out)?.[1] ?? ""

describe("signals keys", () => {
  it.skipIf(process.platform !== "linux")(
    "ends with 3 where a key or a secret cannot be shown, and says what to do",
    async () => {
      const SUBSCRIPTION_SECRET = "a".repeat(43)
      const able = await startRig({ OPEN_ACCESS: "false", API_KEYS, SUBSCRIPTION_SECRET })
      const full = openSync("/dev/full", "w")
      const env = bareEnvironment({ SIGNAL_INGEST_URL: able.service.address, SIGNAL_INGEST_KEY: "root" })
      const ended = async (...args: string[]) => {
        const program = spawn(process.execPath, commandLine(...args), {
          env,
          stdio: ["ignore", full, "pipe"],
        })
        let err = ""
        program.stderr?.setEncoding("utf8").on("data", (text: string) => (err += text))
        const [code] = await once(program, "close")
        return { code, err }
      }
      const made = await new SignalClient({ url: able.service.address, key: "root" }).keys.add({
        name: "importer",
        scopes: ["ingest"],
      })
      for (const [cure, ...args] of [
        ["signals keys revoke", "keys", "add", "other", "ingest"],
        ["signals keys revoke", "keys", "rotate", made.id, "--json"],
        ["signals subscriptions secret", "subscriptions", "add", "a", "https://hooks.example.com/a"],
        ["signals subscriptions secret", "subscriptions", "secret", "a"],
      ] as [string, ...string[]][])
        expect([args, await ended(...args)]).toEqual([args, { code: 3, err: expect.stringContaining(cure) }])
      closeSync(full)
      await able.stop()
    },
  )

  it("makes a key, rotates it, revokes the first, and lists what is left", async () => {
    const added = await keys("add", "importer", "ingest", "bridge", "--expires", "90d")
    expect(added).toMatchObject({
      code: 0,
      err: "",
      out: expect.stringContaining("Key of importer, shown only now:"),
    })
    const first = keyIn(added.out)
    expect((await clientOf(first).createBatch([{ context_window_id: "a" }])).successful_count).toBe(1)

    const rotated = await keys("rotate", idIn(added.out))
    expect(rotated.out).toContain(`signals keys revoke ${idIn(added.out)}`)
    const second = keyIn(rotated.out)
    for (const key of [first, second])
      expect((await clientOf(key).createBatch([{ context_window_id: "a" }])).successful_count).toBe(1)

    const limited = await keys("limit", idIn(added.out), "--signals", "1000")
    expect(limited.out).toBe("importer may send 1000 signals and any number of bytes a day.\n")
    const usage = await keys("usage", idIn(added.out))
    const day = new Date().toISOString().slice(0, 10)
    expect(usage.out).toBe(`${day}  3 batches  3 signals  0 failed\n`)

    const revoked = await keys("revoke", idIn(added.out))
    expect(revoked.out).toBe("importer: revoked. The service refuses it within 60 seconds.\n")
    await expect(clientOf(first).createBatch([{ context_window_id: "a" }])).rejects.toMatchObject({
      code: "unauthorized",
    })

    const listed = await keys("list")
    expect(listed.out).toContain(`importer`)
    expect(listed.out).toContain("1 key.")
    expect(listed.out).toContain("ingest,bridge")
    const all = await keys("list", "--all", "--json")
    const today = new Date().toISOString().slice(0, 10)
    expect(
      all.out
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line)),
    ).toMatchObject([
      { name: "importer", state: "active", last_used_on: today, created_by: "root" },
      { name: "importer", state: "revoked", last_used_on: today, revoked_by: "root" },
    ])
    expect(`${listed.out}${all.out}`).not.toContain(first)
  })

  it("says what it refuses, and what the service refuses", async () => {
    await keys("add", "taken", "read")
    const again = await keys("add", "taken", "read")
    expect(again).toMatchObject({ code: 3, out: "" })
    expect(again.err).toContain("A key of this name was made before.")
    for (const [args, sentence] of [
      [["add", "anonymous", "read"], 'It must not be "anonymous".'],
      [["add", "a", "read", "--expires", "soon"], "It must be days such as 90d"],
      [["add", "a", "read", "--expires", "2027-13-41"], "It must be days such as 90d"],
      [["revoke", "taken"], "It must be an id"],
    ] as const)
      expect(await keys(...args)).toMatchObject({ code: 2, err: expect.stringContaining(sentence) })
    expect(await keys("revoke", crypto.randomUUID())).toMatchObject({
      code: 3,
      err: expect.stringContaining("No key has this id."),
    })
  })
})

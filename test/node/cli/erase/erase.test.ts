import { execFile } from "node:child_process"
import { createHash } from "node:crypto"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { SignalClient, ValidationError } from "../../../../src/client/index.ts"
import { type Rig, startRig } from "../../../setup/rig.ts"
import { bareEnvironment, commandLine } from "../command-line.ts"

const KEYS = { desk: ["admin"], operator: ["read", "ingest"] }
const API_KEYS = JSON.stringify(
  Object.entries(KEYS).map(([name, scopes]) => ({
    name,
    scopes,
    sha256: createHash("sha256").update(name).digest("hex"),
  })),
)

let rig: Rig

beforeAll(async () => {
  rig = await startRig({ OPEN_ACCESS: "false", API_KEYS })
})
afterAll(() => rig?.stop())

const clientOf = (key: keyof typeof KEYS) => new SignalClient({ url: rig.service.address, key })

/** Runs the command with a key in the environment, without a terminal. */
function erase(
  key: keyof typeof KEYS,
  ...args: string[]
): Promise<{ code: number; out: string; err: string }> {
  const env = bareEnvironment({ SIGNAL_INGEST_URL: rig.service.address, SIGNAL_INGEST_KEY: key })
  return new Promise((resolve) => {
    execFile(process.execPath, commandLine("erase", ...args), { env }, (error, out, err) =>
      resolve({ code: error ? Number(error.code) : 0, out, err }),
    )
  })
}

const signal = (user_id: string) => ({ context_window_id: `of ${user_id}`, user_id })

describe("signals erase", () => {
  it("erases, waits until it is done, and prints the counts of removed records", async () => {
    const { results } = await clientOf("operator").createBatch([
      signal("U1"),
      signal("U1"),
      signal("U2"),
      signal("U2"),
    ])
    const user = await erase("desk", "--user", "U1", "--suppress", "--yes")
    expect(user).toMatchObject({ code: 0, err: "" })
    expect(user.out).toMatch(
      /^Erasure [\w-]{36} of user_id, with suppression\nDone: 2 signals, 0 dead letters, /,
    )
    const ids = await erase("desk", "--signal", String(results[2]?.signal_id), "--signal", "999999", "--yes")
    expect(ids.out).toContain("Done: 1 signals")
    expect(await rig.query("select user_id from signals")).toEqual([{ user_id: "U2" }])
    const again = await clientOf("operator").createBatch([signal("U1")])
    expect(again.results).toMatchObject([
      { success: false, code: "suppressed", field: "user_id", retryable: false },
    ])
  })

  it.each([
    [["--user", "U2"], 2, "There is no terminal to ask for confirmation. Add --yes to erase."],
    [["--yes"], 2, "Nothing to erase. Give --user, --agent, --conversation or --signal."],
    [["--user", "U2", "--agent", "A1", "--yes"], 2, "cannot be used with"],
    [["--signal", "newest", "--yes"], 2, "It must be the id of a signal."],
    [["--user", "", "--yes"], 3, "Gave up: "],
  ])("%j ends with %i and erases nothing", async (args, code, said) => {
    const ended = await erase("desk", ...args)
    expect([ended.code, ended.err]).toEqual([code, expect.stringContaining(said)])
    expect(await rig.query("select from signals where user_id = 'U2'")).toHaveLength(1)
  })

  it("needs the scope admin", async () => {
    const ended = await erase("operator", "--user", "U2", "--yes")
    expect([ended.code, ended.err]).toEqual([3, expect.stringContaining("admin")])
  })
})

describe("the client", () => {
  it("erases, and returns the state", async () => {
    const client = clientOf("desk")
    const { id } = await client.erase({ agent_id: "A1" })
    await expect.poll(async () => (await client.erasure(id))?.state).toBe("done")
    expect(await client.erasure(crypto.randomUUID())).toBeUndefined()
    await expect(client.erase({})).rejects.toThrow(ValidationError)
  })
})

import { execFile } from "node:child_process"
import { Webhook } from "standardwebhooks"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { SignalClient, ValidationError } from "../../../../src/client/index.ts"
import { type Rig, startRig } from "../../../setup/rig.ts"
import { type Receiver, startReceiver } from "../../../setup/vitest/receiver.ts"
import { bareEnvironment, commandLine } from "../command-line.ts"

let rig: Rig
let receiver: Receiver

beforeAll(async () => {
  rig = await startRig({
    SUBSCRIPTION_SECRET: "a-secret-of-the-tests-for-sealing-only",
    SUBSCRIPTION_LOCAL_RECEIVERS: "true",
  })
  receiver = await startReceiver()
})
afterAll(async () => {
  await rig?.stop()
  await receiver?.stop()
})

function subscriptions(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const env = bareEnvironment({ SIGNAL_INGEST_URL: rig.service.address })
  return new Promise((resolve) => {
    execFile(process.execPath, commandLine("subscriptions", ...args), { env }, (error, out, err) =>
      resolve({ code: error ? Number(error.code) : 0, out, err }),
    )
  })
}

const secretIn = (out: string) => /whsec_\S+/.exec(out)?.[0] ?? ""
const client = () => new SignalClient({ url: rig.service.address }).subscriptions

describe("signals subscriptions", () => {
  it("adds one with every part of a filter, tests it, pauses, resumes, moves and removes it", async () => {
    const filter = ["--escalated", "--min-score", "0.5", "--max-score", "1", "--source", "Slack"]
    const names = ["--conversation", "c", "--user", "u", "--agent", "a", "--max-age", "60"]
    const added = await subscriptions("add", "all", receiver.at("all"), ...filter, ...names)
    expect(added).toMatchObject({ code: 0, err: "" })
    const [made] = await client().list()
    expect(made?.filter).toEqual({
      ...{ escalate_flag: 1, min_score: 0.5, max_score: 1, signal_source: "Slack" },
      ...{ context_window_id: "c", user_id: "u", agent_id: "a", max_age_seconds: 60 },
    })

    const tested = await subscriptions("test", "all")
    expect(tested).toMatchObject({
      code: 0,
      out: expect.stringMatching(/^all: accepted with HTTP 200, after/),
    })
    const call = receiver.calls("all")[0]
    expect(new Webhook(secretIn(added.out)).verify(call?.body ?? "", call?.headers ?? {})).toMatchObject({
      type: "test",
    })
    receiver.reply("all", [{ status: 503 }])
    expect(await subscriptions("test", "all")).toMatchObject({
      code: 1,
      out: expect.stringContaining("HTTP 503"),
    })

    expect((await subscriptions("pause", "all")).out).toBe("all: paused.\n")
    expect((await subscriptions("list")).out).toMatch(/^all +paused +lag 0 s +0 delivered +not called yet/)
    expect((await subscriptions("resume", made?.id ?? "")).out).toContain("active")
    expect((await subscriptions("resend", "all", "2025-01-15")).out).toContain("2025-01-15T00:00:00.000Z")
    expect(secretIn((await subscriptions("secret", "all")).out)).not.toBe(secretIn(added.out))
    expect((await subscriptions("remove", "all")).out).toBe("all: deleted.\n")
    expect((await subscriptions("list")).out).toBe("0 subscriptions.\n")
  })

  it("prints one line of JSON for scripts", async () => {
    const added = await subscriptions("add", "json", receiver.at("json"), "--format", "slack", "--json")
    expect(JSON.parse(added.out)).toMatchObject({
      name: "json",
      format: "slack",
      secret: expect.stringMatching(/^whsec_/),
    })
    expect(JSON.parse((await subscriptions("list", "--json")).out)).not.toHaveProperty("secret")
    await subscriptions("remove", "json", "--json")
  })

  it.each([
    [["pause", "nobody"], 2, /No subscription is named "nobody"/],
    [["add", "a", "https://10.0.0.1/"], 3, /public address/],
    [["add", "a", "https://hooks.example.com/", "--min-score", "2"], 2, /from 0 to 1/],
    [["resend", "a", "yesterday"], 2, /a date such as/],
  ])("refuses %j", async (args, code, sentence) => {
    const { code: exit, err } = await subscriptions(...args)
    expect(exit).toBe(code)
    expect(err).toMatch(sentence)
  })
})

describe("client.subscriptions", () => {
  it("creates, changes and deletes, and says why it does not", async () => {
    const made = await client().add({ name: "one", url: receiver.at("one"), filter: { escalate_flag: 1 } })
    await expect(client().add({ name: "one", url: receiver.at("one") })).rejects.toBeInstanceOf(
      ValidationError,
    )
    expect(await client().change(made.id, { filter: {}, name: "two" })).toMatchObject({
      name: "two",
      filter: {},
    })
    expect((await client().test(made.id)).status).toBe(200)
    expect(await client().resend(made.id, "2025-01-01T00:00:00Z")).toMatchObject({ id: made.id })
    const { secret, previous_secret_until } = await client().replaceSecret(made.id, { overlapSeconds: 60 })
    expect(secret).not.toBe(made.secret)
    expect(previous_secret_until).not.toBeNull()
    expect(await client().remove(made.id)).toMatchObject({ name: "two" })
    await expect(client().remove(made.id)).rejects.toMatchObject({ status: 404 })
  })
})

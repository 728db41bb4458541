import { Webhook } from "standardwebhooks"
import { describe, expect, it } from "vitest"
import { callOf, headersOf, testCall } from "../../../src/subscriptions/call.ts"
import { newSecret, seal, Unsealable, unseal } from "../../../src/subscriptions/secrets.ts"

const [KEY, NEXT] = ["k".repeat(32), "n".repeat(40)]

describe("a sealed text", () => {
  it("is opened under the same key and for the same place only", async () => {
    const sealed = await seal([KEY], "one:secret", "whsec_é")
    expect(await unseal([KEY], "one:secret", sealed)).toBe("whsec_é")
    await expect(unseal([KEY], "two:secret", sealed)).rejects.toBeInstanceOf(Unsealable)
    await expect(unseal([KEY], "one:url", sealed)).rejects.toBeInstanceOf(Unsealable)
    await expect(unseal([NEXT], "one:secret", sealed)).rejects.toBeInstanceOf(Unsealable)
    await expect(unseal([], "one:secret", sealed)).rejects.toBeInstanceOf(Unsealable)
  })

  it("is opened by any key of a rotation, and sealed by the first", async () => {
    const sealed = await seal([KEY], "one", "text")
    expect(await unseal([NEXT, KEY], "one", sealed)).toBe("text")
    await expect(unseal([KEY], "one", await seal([NEXT, KEY], "one", "text"))).rejects.toBeInstanceOf(
      Unsealable,
    )
  })

  it("shows nothing of the text, and differs each time", async () => {
    const [a, b] = await Promise.all([1, 2].map(() => seal([KEY], "one", "https://hooks.example.com")))
    expect(a).not.toBe(b)
    expect(a).not.toContain("hooks")
  })

  it.each(["", "v1", "v1..", "v2.AAAA.AAAA", "v1.!.!", "v1.AAAAAAAAAAAAAAAA.AAAA"])(
    "that is damaged opens to nothing: %j",
    async (sealed) => {
      await expect(unseal([KEY], "one", sealed)).rejects.toBeInstanceOf(Unsealable)
    },
  )
})

describe("a call", () => {
  const nowSeconds = () => Math.floor(Date.now() / 1000)
  const range = { subscriptionId: "s", format: "signals" as const, first: "1", last: "2" }

  it("is signed so that the library of the specification verifies it, with each secret of a rotation", async () => {
    const secrets = [newSecret(), newSecret()]
    const call = await testCall("s", "signals")
    const headers = await headersOf(call, secrets, nowSeconds())
    for (const secret of secrets)
      expect(new Webhook(secret).verify(call.body, headers)).toEqual(JSON.parse(call.body))
    expect(() => new Webhook(newSecret()).verify(call.body, headers)).toThrow()
    expect(() => new Webhook(secrets[0] ?? "").verify(`${call.body} `, headers)).toThrow()
  })

  it("has the same id for the same range and body, and another one otherwise", async () => {
    const signals = [{ id: 1 }, { id: 2 }] as never[]
    const ids = [
      await callOf(range, signals),
      await callOf({ ...range }, [...signals]),
      await callOf(range, signals.slice(1)),
      await callOf({ ...range, last: "3" }, signals),
      await callOf({ ...range, first: "0" }, signals),
      await callOf({ ...range, subscriptionId: "t" }, signals),
    ].map(({ id }) => id)
    expect(ids[1]).toBe(ids[0])
    expect(new Set(ids).size).toBe(5)
    for (const id of ids) expect(id).toMatch(/^msg_[\w-]{24}$/)
  })
})

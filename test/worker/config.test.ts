import { describe, expect, it } from "vitest"
import type { Bindings } from "../../src/bindings.ts"
import { ConfigurationError, readSettings } from "../../src/config.ts"
import { bindings } from "./service.ts"

const retentionOf = (changed: Partial<Bindings>) => readSettings({ ...bindings, ...changed }).retention

describe("the settings of retention", () => {
  it("keep signals forever and the ledger for 90 days by default, also as empty texts", () => {
    const preset = { signalDays: undefined, ledgerDays: 90 }
    expect(retentionOf({})).toEqual(preset)
    expect(retentionOf({ RETENTION_DAYS: "", LEDGER_RETENTION_DAYS: "" })).toEqual(preset)
    expect(retentionOf({ RETENTION_DAYS: "30", LEDGER_RETENTION_DAYS: "7" })).toEqual({
      signalDays: 30,
      ledgerDays: 7,
    })
  })

  it.each([
    ["RETENTION_DAYS", "0", "from 1 to 99999"],
    ["RETENTION_DAYS", "thirty", "from 1 to 99999"],
    ["RETENTION_DAYS", "1.5", "from 1 to 99999"],
    ["RETENTION_DAYS", "100000", "from 1 to 99999"],
    ["LEDGER_RETENTION_DAYS", "6", "from 7 to 99999: an Idempotency-Key is kept for 7 days"],
  ])("refuse %s=%s", (name, value, rule) => {
    const read = () => retentionOf({ [name]: value })
    expect(read).toThrow(ConfigurationError)
    expect(read).toThrow(`${name}: must be a whole number of days ${rule}`)
  })
})

describe("the secrets of webhooks", () => {
  const webhooksOf = (changed: Partial<Bindings>) => readSettings({ ...bindings, ...changed }).webhooks
  const secret = (bytes: number) => btoa("k".repeat(bytes))

  it("are several during a rotation, with or without their prefix, or none", () => {
    const [old, next] = [`whsec_${secret(24)}`, secret(64)]
    expect(webhooksOf({ WEBHOOK_SECRET: ` ${old}\n${next} ` }).standardSecrets).toEqual([old, next])
    expect(webhooksOf({ WEBHOOK_SECRET: "" }).standardSecrets).toEqual([])
  })

  it.each([
    ["WEBHOOK_SECRET", "a password"],
    ["WEBHOOK_SECRET", "whsec_===="],
    ["WEBHOOK_SECRET", `whsec_${secret(23)}`],
    ["WEBHOOK_SECRET", `whsec_${secret(65)}`],
    ["WEBHOOK_SECRET", `${secret(32)} whsec_not-base64!`],
    ["SLACK_SIGNING_SECRET", "8f742231b10e8888abcd99yyyzzz85a5\n"],
    ["SLACK_SIGNING_SECRET_PREVIOUS", "two words"],
  ])("are refused when no signature could be right, and not shown: %s=%j", (name, value) => {
    const read = () => webhooksOf({ [name]: value })
    expect(read).toThrow(ConfigurationError)
    expect(read).toThrow(name)
    expect(read).not.toThrow(value.trim())
  })
})

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

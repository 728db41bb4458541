import fc from "fast-check"
import { describe, expect, it } from "vitest"
import { apiKeyOf, hasKeyForm } from "../../../src/keys/form.ts"

const bytes = fc.uint8Array({ minLength: 32, maxLength: 32 })

describe("an API key", () => {
  it("has the prefix, 49 letters and digits, and its checksum", () =>
    fc.assert(
      fc.property(bytes, (random) => {
        const key = apiKeyOf(random)
        return /^si_live_[0-9A-Za-z]{49}$/.test(key) && hasKeyForm(key)
      }),
    ))

  it("is another one for other bytes", () =>
    fc.assert(
      fc.property(
        bytes,
        bytes,
        (one, other) => (apiKeyOf(one) === apiKeyOf(other)) === (one.join() === other.join()),
      ),
    ))

  it("has the checksum that ZIP has, in base 62", () =>
    // zlib.crc32(b"si_live_" + b"0" * 43) is 2178057894.
    expect(apiKeyOf(new Uint8Array(32))).toBe(`si_live_${"0".repeat(43)}2NOuM2`))

  it("is not recognized when one character differs", () =>
    fc.assert(
      fc.property(bytes, fc.nat(56), fc.constantFrom(..."0aZ_-"), (random, at, character) => {
        const key = apiKeyOf(random)
        const changed = key.slice(0, at) + character + key.slice(at + 1)
        return changed === key || !hasKeyForm(changed)
      }),
    ))

  it.each(["", "si_live_", "bridge-key", `si_live_${"0".repeat(49)}`, `SI_LIVE_${"0".repeat(49)}`])(
    "is not %j",
    (text) => expect(hasKeyForm(text)).toBe(false),
  )
})

import { describe, expect, it } from "vitest"
import { encodePayload } from "../../../src/signals/payload.ts"

/** A payload of `levels` objects and arrays within each other, the outermost included. */
const nested = (levels: number): Record<string, unknown> => {
  let value: unknown = 1
  for (let level = 1; level < levels; level++) value = level % 2 ? [value] : { a: value }
  return { a: value }
}

describe("a payload", () => {
  it.each([null, undefined])("that is %s becomes no text", (payload) => expect(encodePayload(payload)).toEqual({ text: "" }))

  it("becomes its JSON text, every digit of a raw number kept", () =>
    expect(encodePayload({ id: JSON.rawJSON("12345678901234567890.10") })).toEqual({ text: '{"id":12345678901234567890.10}' }))

  it("becomes text without a line break", () => expect(encodePayload({ text: "a\nb\r\u2028" }).text).not.toMatch(/[\n\r]/))

  it("may nest 64 levels deep", () => expect(encodePayload(nested(64)).text).toBe(JSON.stringify(nested(64))))

  it("may hold a raw number at the deepest level", () => {
    let payload: Record<string, unknown> = { n: JSON.rawJSON("12345678901234567890") }
    for (let level = 1; level < 64; level++) payload = { a: payload }
    expect(encodePayload(payload).fault).toBeUndefined()
  })

  it.each([65, 100_000])("may not nest %i levels deep", (levels) =>
    expect(encodePayload(nested(levels))).toEqual({ fault: "payload must not nest deeper than 64 levels" }),
  )

  it.each([{ a: "\0" }, { "\0": 1 }, { a: [{ b: "x\0" }] }])("may not hold U+0000 in a value or a name", (payload) =>
    expect(encodePayload(payload)).toEqual({ fault: "payload must not contain U+0000" }),
  )

  it.each([{ a: "\ud83d" }, { "\ude00": 1 }, { a: ["\udfff"] }])(
    "may not hold a lone surrogate in a value or a name",
    (payload) => expect(encodePayload(payload)).toEqual({ fault: "payload must not contain a lone surrogate" }),
  )

  it("may speak of \\u0000 as text", () => expect(encodePayload({ a: "\\u0000" })).toEqual({ text: '{"a":"\\\\u0000"}' }))
})

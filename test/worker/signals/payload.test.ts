import { describe, expect, it } from "vitest"
import { parseJson } from "../../../src/signals/json.ts"
import { encodePayload } from "../../../src/signals/payload.ts"
import { planBatch } from "../../../src/signals/plan.ts"
import { Signal } from "../../../src/signals/schema.ts"

/** A payload of `levels` objects and arrays within each other, the outermost included. */
const nested = (levels: number): Record<string, unknown> => {
  let value: unknown = 1
  for (let level = 1; level < levels; level++) value = level % 2 ? [value] : { a: value }
  return { a: value }
}

describe("a payload", () => {
  it.each([null, undefined])("that is %s becomes no text", (payload) =>
    expect(encodePayload(payload)).toEqual({ text: "" }),
  )

  it("becomes its JSON text, with every digit of a raw number", () =>
    expect(encodePayload({ id: JSON.rawJSON("12345678901234567890.10") })).toEqual({
      text: '{"id":12345678901234567890.10}',
    }))

  it("becomes text without a line break", () =>
    expect(encodePayload({ text: "a\nb\r\u2028" }).text).not.toMatch(/[\n\r]/))

  it("can nest 64 levels deep", () => expect(encodePayload(nested(64)).text).toBe(JSON.stringify(nested(64))))

  it("can have a raw number at the deepest level", () => {
    let payload: Record<string, unknown> = { n: JSON.rawJSON("12345678901234567890") }
    for (let level = 1; level < 64; level++) payload = { a: payload }
    expect(encodePayload(payload).violation).toBeUndefined()
  })

  it.each([65, 100_000])("must not nest %i levels deep", (levels) =>
    expect(encodePayload(nested(levels))).toEqual({
      violation: {
        field: "payload",
        code: "too_deep",
        message: "payload must not nest deeper than 64 levels",
      },
    }),
  )

  it.each(["1e1000", "1e131071", "-1.5e-1000", "1e-131071", "1e99999999999"])(
    "must not hold %s, which Postgres prints in full",
    (number) =>
      expect(encodePayload({ a: [{ b: JSON.rawJSON(number) }] })).toEqual({
        violation: {
          field: "payload",
          code: "number_too_long",
          message: "payload must not hold a number of more than 1000 digits",
        },
      }),
  )

  it.each([
    ["1e400", 401],
    ["-1.25e3", 7],
    ["1.5e-7", 9],
    ["1e+21", 22],
    ["2E0", 3],
  ])("is measured as Postgres prints it: %s", (number, characters) => {
    const { text, printedCharacters } = encodePayload({ a: JSON.rawJSON(number) })
    expect(text).toBe(`{"a":${number}}`)
    expect((printedCharacters ?? text?.length ?? 0) - '{"a":}'.length).toBeGreaterThanOrEqual(
      Math.min(characters, 3),
    )
    if (characters > number.length)
      expect(printedCharacters).toBeGreaterThanOrEqual(characters + '{"a":}'.length)
  })

  it("is too large when its numbers expand to more than 1 MiB", () => {
    const payload = parseJson(`{"a":[${Array(2700).fill("1e400").join()}]}`)
    const signal = Signal.parse({ context_window_id: "a", payload })
    expect(planBatch([signal], "2026-01-01T00:00:00.000000Z").failures).toEqual([
      { index: 0, error: "signal must not be larger than 1 MiB", code: "too_large", retryable: false },
    ])
  })

  it.each([{ a: "\0" }, { "\0": 1 }, { a: [{ b: "x\0" }] }])(
    "must not hold U+0000 in a value or a name",
    (payload) =>
      expect(encodePayload(payload)).toEqual({
        violation: { field: "payload", code: "invalid_text", message: "payload must not contain U+0000" },
      }),
  )

  it.each([{ a: "\ud83d" }, { "\ude00": 1 }, { a: ["\udfff"] }])(
    "must not hold a lone surrogate in a value or a name",
    (payload) =>
      expect(encodePayload(payload)).toEqual({
        violation: {
          field: "payload",
          code: "invalid_text",
          message: "payload must not contain a lone surrogate",
        },
      }),
  )

  it("can have \\u0000 as text", () =>
    expect(encodePayload({ a: "\\u0000" })).toEqual({ text: '{"a":"\\\\u0000"}' }))
})

import { describe, expect, it } from "vitest"
import { brokenRule, MAX_SIGNAL_BYTES } from "../../../src/signals/rules.ts"
import { type Signal, TEXT_FIELDS } from "../../../src/signals/schema.ts"

const signal = (fields: Partial<Signal> = {}): Signal => ({ context_window_id: "conv-1", ...fields })
const violation = (fields: Partial<Signal>, payload = "") => brokenRule(signal(fields), payload)
const broken = (fields: Partial<Signal>, payload = "") => violation(fields, payload)?.message

describe("a broken rule", () => {
  it.each([
    [{ signal_score: 2 }, { field: "signal_score", code: "out_of_range" }],
    [{ escalate_flag: 2 }, { field: "escalate_flag", code: "out_of_range" }],
    [{ dedupe_key: "" }, { field: "dedupe_key", code: "wrong_length" }],
    [{ context_window_id: " " }, { field: "context_window_id", code: "blank" }],
    [{ raw_content: "a\0" }, { field: "raw_content", code: "invalid_text" }],
    [{ raw_content: "x".repeat(MAX_SIGNAL_BYTES) }, { code: "too_large" }],
  ])("has a code and its field", (fields, expected) =>
    expect(violation(fields)).toEqual({ ...expected, message: expect.any(String) }),
  )
})

describe.each(["signal_score", "emotional_tone"] as const)("a signal's %s", (field) => {
  it.each([0, 0.5, 1, null])("may be %s", (value) => expect(broken({ [field]: value })).toBeUndefined())

  it.each([-0.001, 1.001, 1e300])("must not be %s", (value) =>
    expect(broken({ [field]: value })).toBe(`${field} must be between 0 and 1`),
  )
})

describe("a signal's escalate_flag", () => {
  it.each([0, 1, null])("may be %s", (escalate_flag) => expect(broken({ escalate_flag })).toBeUndefined())

  it.each([-1, 2, 255])("must not be %s", (escalate_flag) =>
    expect(broken({ escalate_flag })).toBe("escalate_flag must be 0 or 1"),
  )
})

describe.each(["context_window_id", "signal_source", "dedupe_key"] as const)("a signal's %s", (field) => {
  it.each(["a", "x".repeat(255), "\u{1F600}".repeat(255)])(
    "may be 1 to 255 characters long, whatever their size",
    (value) => expect(broken({ [field]: value })).toBeUndefined(),
  )

  it.each(["", "x".repeat(256), "\u{1F600}".repeat(256)])("must not be empty or longer", (value) =>
    expect(broken({ [field]: value })).toBe(`${field} must be 1 to 255 characters long`),
  )
})

describe.each(["user_id", "agent_id"] as const)("a signal's %s", (field) => {
  it.each(["", "x".repeat(1024), "\u{1F600}".repeat(1024)])(
    "may have up to 1024 characters, whatever their size",
    (value) => expect(broken({ [field]: value })).toBeUndefined(),
  )

  it.each(["x".repeat(1025), "\u{1F600}".repeat(1025)])("must not be longer", (value) =>
    expect(violation({ [field]: value })).toEqual({
      field,
      code: "wrong_length",
      message: `${field} must be at most 1024 characters long`,
    }),
  )
})

describe("a signal's context_window_id", () => {
  it.each([" ", "\t\n", "\u00a0"])("must not be blank", (context_window_id) =>
    expect(broken({ context_window_id })).toBe("context_window_id must not be blank"),
  )
})

describe.each(TEXT_FIELDS)("the text of %s", (field) => {
  it("can have astral and combining characters and U+2028", () =>
    expect(broken({ [field]: "e\u0301 \u{1F600} \u2028" })).toBeUndefined())

  it("must not hold U+0000, which Postgres cannot store", () =>
    expect(broken({ [field]: "a\0b" })).toBe(`${field} must not contain U+0000`))

  it.each(["a\ud83d", "\ude00b"])("must not hold a lone surrogate, which UTF-8 cannot carry", (value) =>
    expect(broken({ [field]: value })).toBe(`${field} must not contain a lone surrogate`),
  )
})

describe("a signal's size", () => {
  it("can be exactly 1 MiB of UTF-8", () => {
    const content = "\u20ac".repeat(Math.floor((MAX_SIGNAL_BYTES - "conv-1".length) / 3))
    expect(broken({ raw_content: content })).toBeUndefined()
  })

  it("must not be larger, with its texts and payload together", () => {
    const half = "x".repeat(MAX_SIGNAL_BYTES / 2)
    expect(broken({ raw_content: half }, JSON.stringify({ half }))).toBe(
      "signal must not be larger than 1 MiB",
    )
  })
})

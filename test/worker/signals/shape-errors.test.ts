import fc from "fast-check"
import { describe, expect, it } from "vitest"
import * as z from "zod"
import { parseJson } from "../../../src/signals/json.ts"
import { BatchRequest, Signal } from "../../../src/signals/schema.ts"
import { shapeErrors } from "../../../src/signals/shape-errors.ts"

const errorsOf = (schema: z.ZodType, input: unknown, part = "body") => {
  const result = schema.safeParse(input)
  return result.success ? [] : shapeErrors(result.error.issues, input, [part])
}
const ofSignal = (fields: object) => errorsOf(Signal, { context_window_id: "a", ...fields })
const told = (type: string, field: string, msg: string, input?: unknown) => [
  { type, loc: ["body", field], msg, ...(input !== undefined && { input }) },
]

describe("a signal's wrong shape", () => {
  it.each([
    ["context_window_id", 5, "string_type", "Input should be a valid string"],
    ["context_window_id", null, "string_type", "Input should be a valid string"],
    ["raw_content", true, "string_type", "Input should be a valid string"],
    ["signal_score", "0.5", "float_type", "Input should be a valid number"],
    ["emotional_tone", false, "float_type", "Input should be a valid number"],
    ["escalate_flag", "1", "int_type", "Input should be a valid integer"],
    ["escalate_flag", true, "int_type", "Input should be a valid integer"],
    [
      "escalate_flag",
      0.5,
      "int_from_float",
      "Input should be a valid integer, got a number with a fractional part",
    ],
    ["payload", "text", "dict_type", "Input should be a valid dictionary"],
    ["timestamp", false, "datetime_type", "Input should be a valid datetime"],
    [
      "timestamp",
      "2025-02-30",
      "datetime_parsing",
      "Input should be a valid datetime or date, day value is outside expected range",
    ],
  ])("%s %j is %s in Pydantic's words", (field, value, type, msg) =>
    expect(ofSignal({ [field]: value })).toEqual(told(type, field, msg, value)),
  )

  it("the error of a missing field says that it is missing, without an input", () =>
    expect(errorsOf(Signal, {})).toEqual(told("missing", "context_window_id", "Field required")))

  it.each([{ payload: [1] }, { raw_content: { a: 1 } }])(
    "%j is not repeated in the error when it is not a scalar",
    (fields) => expect(ofSignal(fields)[0]).not.toHaveProperty("input"),
  )

  it("repeats a long text truncated, between characters", () =>
    expect(ofSignal({ timestamp: "\u{1F600}".repeat(1000) })[0]?.input).toBe("\u{1F600}".repeat(100)))

  it("repeats a long number with its digits", () =>
    expect(JSON.stringify(ofSignal({ raw_content: parseJson("12345678901234567890") })[0]?.input)).toBe(
      "12345678901234567890",
    ))

  it("is not a number that a double cannot hold, whose value breaks a rule", () => {
    for (const field of ["signal_score", "emotional_tone", "escalate_flag", "timestamp"])
      for (const value of [Infinity, -Infinity]) expect(ofSignal({ [field]: value })).toEqual([])
  })

  it("is never reported for fields that are null or unknown", () => {
    const fields = Object.fromEntries(Object.keys(Signal.shape).map((name) => [name, null]))
    expect(ofSignal({ ...fields, context_window_id: "a", unknown: 5 })).toEqual([])
  })
})

describe("a batch's wrong shape", () => {
  it.each([
    [[], ["body"], "model_attributes_type"],
    ["text", ["body"], "model_attributes_type"],
    [null, ["body"], "model_attributes_type"],
    [{}, ["body", "signals"], "missing"],
    [{ signals: {} }, ["body", "signals"], "list_type"],
    [{ signals: [1] }, ["body", "signals", 0], "model_attributes_type"],
    [{ signals: [], fail_on_error: "yes" }, ["body", "fail_on_error"], "bool_type"],
  ])("%j has an error with the path of the field", (input, loc, type) =>
    expect(errorsOf(BatchRequest, input)).toMatchObject([{ type, loc }]),
  )

  it("is reported error by error up to 100, and then as a count", () => {
    const errors = errorsOf(BatchRequest, { signals: Array.from({ length: 257 }, () => ({})) })
    expect(errors).toHaveLength(101)
    expect(errors[99]?.loc).toEqual(["body", "signals", 99, "context_window_id"])
    expect(errors[100]).toEqual({ type: "too_many_errors", loc: ["body"], msg: "and 157 more" })
  })
})

describe("any error that zod finds", () => {
  const { string, number, int, array, literal } = z
  it.each<[string, z.ZodType, unknown, string, string]>([
    [
      "an int with a fraction",
      int(),
      0.5,
      "int_from_float",
      "Input should be a valid integer, got a number with a fractional part",
    ],
    [
      "an int beyond 2^53",
      int(),
      2 ** 60,
      "less_than_equal",
      "Input should be less than or equal to 9007199254740991",
    ],
    ["a number not above", number().gt(0), 0, "greater_than", "Input should be greater than 0"],
    [
      "a number below",
      number().min(1),
      0,
      "greater_than_equal",
      "Input should be greater than or equal to 1",
    ],
    ["a number not below", number().lt(9), 9, "less_than", "Input should be less than 9"],
    ["no multiple", number().multipleOf(5), 3, "multiple_of", "Input should be a multiple of 5"],
    ["a short text", string().min(2), "a", "string_too_short", "String should have at least 2 characters"],
    ["a long text", string().max(1), "ab", "string_too_long", "String should have at most 1 character"],
    [
      "a short list",
      array(int()).min(1),
      [],
      "too_short",
      "List should have at least 1 item after validation, not 0",
    ],
    [
      "a long list",
      array(int()).max(2),
      [1, 2, 3],
      "too_long",
      "List should have at most 2 items after validation, not 3",
    ],
    ["no UUID", z.uuid(), "a", "uuid_parsing", "Input should be a valid UUID"],
    [
      "no match",
      string().regex(/^b$/),
      "a",
      "string_pattern_mismatch",
      "String should match pattern '/^b$/'",
    ],
    ["no literal", literal(["a", "b", 3]), "c", "literal_error", "Input should be 'a', 'b' or 3"],
    ["no record", z.record(string(), int()), [], "dict_type", "Input should be a valid dictionary"],
    ["a refusal in zod's words", string().refine(() => false, "no"), "a", "value_error", "no"],
    ["any other", z.strictObject({}), { a: 1 }, "value_error", 'Value error, Unrecognized key: "a"'],
  ])("%s has the message of Pydantic", (_, schema, input, type, msg) =>
    expect(errorsOf(schema, input)).toMatchObject([{ type, loc: ["body"], msg }]),
  )

  it("the error of a missing field that takes one of some values says that it is missing", () =>
    expect(errorsOf(z.object({ kind: literal("a") }), {})).toEqual(told("missing", "kind", "Field required")))

  it("is the same when the schema is compiled", () =>
    fc.assert(
      fc.property(nearlyBatch, (input) => {
        expect(errorsOf(BatchRequest, input)).toEqual(errorsOf(PLAIN_REQUEST, input))
      }),
    ))
})

const PLAIN_REQUEST = z.looseObject({ signals: z.array(Signal), fail_on_error: z.boolean().nullish() })

const nearlyBatch = fc.record(
  {
    signals: fc.array(
      fc.dictionary(fc.constantFrom(...Object.keys(Signal.shape)), fc.jsonValue({ maxDepth: 1 })),
      {
        maxLength: 5,
      },
    ),
    fail_on_error: fc.jsonValue({ maxDepth: 1 }),
  },
  { requiredKeys: [] },
)

describe("the schema of a batch", () => {
  it("is compiled as a whole, since otherwise it would be ten times slower without a warning", () =>
    expect(() => z.compile(z.object({ signals: z.array(Signal) }), { strict: true })).not.toThrow())
})

import type * as z from "zod"

/** One validation error, in the form and words of Pydantic v2 and FastAPI. */
export interface ShapeError {
  type: string
  loc: (string | number)[]
  msg: string
  input?: unknown
}

/** A body that cannot be parsed, with the errors for its sender. */
export class Unreadable extends Error {
  readonly errors: ShapeError[]

  constructor(errors: ShapeError[]) {
    super("the body cannot be read")
    this.errors = errors
  }
}

export const jsonInvalid = (reason: string, loc: ShapeError["loc"]): ShapeError => ({
  type: "json_invalid",
  loc,
  msg: `Invalid JSON: ${reason}`,
})

export const missingBody = (): ShapeError => ({ type: "missing", loc: ["body"], msg: "Field required" })

/** Pydantic v2's wording. @see https://docs.pydantic.dev/latest/errors/validation_errors/ */
const MESSAGES = {
  bool_parsing: "Input should be a valid boolean, unable to interpret input",
  bool_type: "Input should be a valid boolean",
  datetime_type: "Input should be a valid datetime",
  dict_type: "Input should be a valid dictionary",
  finite_number: "Input should be a finite number",
  float_parsing: "Input should be a valid number, unable to parse string as a number",
  float_type: "Input should be a valid number",
  int_from_float: "Input should be a valid integer, got a number with a fractional part",
  int_parsing: "Input should be a valid integer, unable to parse string as an integer",
  int_type: "Input should be a valid integer",
  list_type: "Input should be a valid list",
  missing: "Field required",
  model_attributes_type: "Input should be a valid dictionary or object to extract fields from",
  string_type: "Input should be a valid string",
  uuid_parsing: "Input should be a valid UUID",
} as const

/** Makes the issue of a custom check in a zod schema, so that its error gets Pydantic's type and wording. */
export function validationIssue(type: keyof typeof MESSAGES): ValidationIssue
export function validationIssue(type: string, message: string): ValidationIssue
export function validationIssue(type: string, message?: string): ValidationIssue {
  return { code: "custom", message: message ?? MESSAGES[type as keyof typeof MESSAGES], params: { type } }
}

type ValidationIssue = { code: "custom"; message: string; params: { type: string } }

/** The most errors of one request that are reported. */
export const MAX_ERRORS = 100

/** The last entry of a truncated list. */
export const moreErrors = (loc: ShapeError["loc"], count?: number): ShapeError => ({
  type: "too_many_errors",
  loc,
  msg: count === undefined ? "and more" : `and ${count} more`,
})

const MAX_ECHOED_CHARACTERS = 100

/**
 * Converts zod's issues to errors of Pydantic v2: at most 100, and then one entry that counts the rest.
 *
 * @param input the validated value: it distinguishes a missing field from one of a wrong type, and short
 *   values are repeated in errors
 * @param part FastAPI's name of the request's part ("body", "query" or "path"), and the path within it
 */
export function shapeErrors(
  issues: readonly z.core.$ZodIssue[],
  input: unknown,
  part: ShapeError["loc"],
): ShapeError[] {
  const errors = issues.slice(0, MAX_ERRORS).map((issue): ShapeError => {
    const path = issue.path.map((step) => (typeof step === "symbol" ? String(step) : step))
    const found = valueAt(input, path)
    const echo = found === undefined ? undefined : echoOf(found)
    return {
      ...typeAndMessage(issue, found),
      loc: [...part, ...path],
      ...(echo !== undefined && { input: echo }),
    }
  })
  const more = issues.length - MAX_ERRORS
  if (more > 0) errors.push(moreErrors(part, more))
  return errors
}

/** Returns the value at a path; undefined, which JSON cannot hold, when there is none. */
function valueAt(input: unknown, path: readonly (string | number)[]): unknown {
  let value = input
  for (const step of path) {
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, step)) return undefined
    value = (value as Record<string | number, unknown>)[step]
  }
  return value
}

type TypeAndMessage = Pick<ShapeError, "type" | "msg">

const errorOf = (type: keyof typeof MESSAGES): TypeAndMessage => ({ type, msg: MESSAGES[type] })

function typeAndMessage(issue: z.core.$ZodIssue, found: unknown): TypeAndMessage {
  switch (issue.code) {
    case "custom":
      return { type: String(issue.params?.type ?? "value_error"), msg: issue.message }
    case "invalid_type":
      return found === undefined ? errorOf("missing") : wrongType(issue.expected, found)
    case "invalid_value":
      return found === undefined
        ? errorOf("missing")
        : { type: "literal_error", msg: `Input should be ${oneOf(issue.values)}` }
    case "too_small":
      return tooSmall(issue, found)
    case "too_big":
      return tooBig(issue, found)
    case "not_multiple_of":
      return { type: "multiple_of", msg: `Input should be a multiple of ${issue.divisor}` }
    case "invalid_format":
      if (issue.format === "guid" || issue.format === "uuid") return errorOf("uuid_parsing")
      return {
        type: "string_pattern_mismatch",
        msg: `String should match pattern '${issue.pattern ?? issue.format}'`,
      }
    default:
      return { type: "value_error", msg: `Value error, ${issue.message}` }
  }
}

function wrongType(expected: string, found: unknown): TypeAndMessage {
  switch (expected) {
    case "string":
      return errorOf("string_type")
    case "number":
      return errorOf("float_type")
    case "int":
      if (typeof found === "string") return errorOf("int_parsing")
      if (typeof found !== "number") return errorOf("int_type")
      return errorOf(Number.isFinite(found) ? "int_from_float" : "finite_number")
    case "boolean":
      return errorOf("bool_type")
    case "array":
      return errorOf("list_type")
    case "record":
      return errorOf("dict_type")
    default:
      return errorOf("model_attributes_type")
  }
}

/** Writes a list as Python does: 'a', 'b' or 'c'. */
function oneOf(values: readonly unknown[]): string {
  const written = values.map((value) => (typeof value === "string" ? `'${value}'` : String(value)))
  const last = written.pop() ?? ""
  return written.length > 0 ? `${written.join(", ")} or ${last}` : last
}

function tooSmall({ origin, minimum, inclusive }: z.core.$ZodIssueTooSmall, found: unknown): TypeAndMessage {
  if (origin === "string")
    return { type: "string_too_short", msg: `String should have at least ${count(minimum, "character")}` }
  if (Array.isArray(found))
    return {
      type: "too_short",
      msg: `List should have at least ${count(minimum, "item")} after validation, not ${found.length}`,
    }
  return inclusive
    ? { type: "greater_than_equal", msg: `Input should be greater than or equal to ${minimum}` }
    : { type: "greater_than", msg: `Input should be greater than ${minimum}` }
}

function tooBig({ origin, maximum, inclusive }: z.core.$ZodIssueTooBig, found: unknown): TypeAndMessage {
  if (origin === "string")
    return { type: "string_too_long", msg: `String should have at most ${count(maximum, "character")}` }
  if (Array.isArray(found))
    return {
      type: "too_long",
      msg: `List should have at most ${count(maximum, "item")} after validation, not ${found.length}`,
    }
  return inclusive
    ? { type: "less_than_equal", msg: `Input should be less than or equal to ${maximum}` }
    : { type: "less_than", msg: `Input should be less than ${maximum}` }
}

const count = (number: number | bigint, unit: string) => `${number} ${unit}${Number(number) === 1 ? "" : "s"}`

/** Returns a scalar for the answer, with text truncated; undefined for an object or array. */
function echoOf(value: unknown): unknown {
  if (typeof value === "string")
    return [...value.slice(0, 2 * MAX_ECHOED_CHARACTERS)].slice(0, MAX_ECHOED_CHARACTERS).join("")
  if (typeof value === "number") return Number.isFinite(value) ? value : undefined
  return typeof value !== "object" || value === null || JSON.isRawJSON(value) ? value : undefined
}

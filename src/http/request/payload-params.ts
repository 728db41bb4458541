import * as z from "zod"
import { unfoldedBy } from "../../signals/payload.ts"
import { textViolation } from "../../signals/rules.ts"
import { validationIssue } from "../../signals/shape-errors.ts"
import type { PayloadCondition } from "../../store/signals/search.ts"

const PAYLOAD_PREFIX = "payload."

const MAX_PAYLOAD_CONDITIONS = 5
const MAX_STEPS = 8
const MAX_PATH_CHARACTERS = 512
const MAX_VALUE_CHARACTERS = 1024

/** The filters by values of the payload, as `withPayload` gathers them. */
export const payloadConditions = z
  .custom<PayloadCondition[]>()
  .optional()
  .meta({
    description: `Signals whose payload has this value at this path: \`payload.order.id=1\`. At most ${MAX_PAYLOAD_CONDITIONS} parameters, each named \`payload.\` and a path.`,
    override: {
      type: "object",
      additionalProperties: { type: "string" },
      maxProperties: MAX_PAYLOAD_CONDITIONS,
    },
    // Each property is a parameter of its own.
    param: { style: "form", explode: true },
  })

/** Reads the parameters `payload.PATH=VALUE` of a query into the field `payload` of `schema`. */
export const withPayload = <Schema extends z.ZodType>(schema: Schema) =>
  z.preprocess((query, context) => {
    const entries = Object.entries(query as Record<string, unknown>)
    const given = entries.filter(([name]) => name.startsWith(PAYLOAD_PREFIX))
    const rest = Object.fromEntries(entries.filter(([name]) => name !== "payload"))
    if (given.length === 0) return rest
    const refuse = (name: string, why: string) =>
      context.addIssue({ ...validationIssue("value_error", `Value error, ${why}`), path: [name] })
    if (given.length > MAX_PAYLOAD_CONDITIONS)
      refuse("payload", `at most ${MAX_PAYLOAD_CONDITIONS} filters by the payload are read`)
    const payload = given.flatMap(([name, value]) => {
      const condition = conditionOf(name, value)
      if (typeof condition === "object") return [condition]
      refuse(name, condition)
      return []
    })
    return { ...rest, payload }
  }, schema)

function conditionOf(name: string, value: unknown): PayloadCondition | string {
  if (typeof value !== "string") return "a filter by the payload is given once for each path"
  const violation = textViolation(name) ?? textViolation(value)
  if (violation) return `this ${violation}`
  return readPayloadCondition(name.slice(PAYLOAD_PREFIX.length), value)
}

const JSON_NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/

/**
 * The keys of a path: a dot stands between two keys. A backslash makes the dot, the equals sign or the
 * backslash behind it a part of the key; every other character is itself.
 */
function stepsOf(path: string): string[] {
  const steps: string[] = []
  let step = ""
  for (const [, escaped, character = ""] of path.matchAll(/\\([\\.=])|(.)/gs)) {
    if (character === ".") {
      steps.push(step)
      step = ""
    } else step += escaped ?? character
  }
  return [...steps, step]
}

/**
 * Reads a filter by a value of the payload.
 *
 * The value is text. It matches an equal text, and where it is written as a JSON number, `true`, `false` or
 * `null`, also that value: `1` matches `"1"`, `1` and `1.0`, and not `true`.
 *
 * @param path the name of the parameter behind `payload.`
 * @returns the condition, or a sentence about what is wrong
 */
function readPayloadCondition(path: string, value: string): PayloadCondition | string {
  if (path.length > MAX_PATH_CHARACTERS) return `the path must have at most ${MAX_PATH_CHARACTERS} characters`
  if (value.length > MAX_VALUE_CHARACTERS)
    return `the value must have at most ${MAX_VALUE_CHARACTERS} characters`
  const steps = stepsOf(path)
  if (steps.includes("")) return "a key of the path is empty"
  if (steps.length > MAX_STEPS) return `the path must have at most ${MAX_STEPS} keys`
  const isNumber = JSON_NUMBER.test(value) && unfoldedBy(value) !== undefined
  const isJson = isNumber || value === "true" || value === "false" || value === "null"
  return { path: steps, values: isJson ? [JSON.stringify(value), value] : [JSON.stringify(value)] }
}

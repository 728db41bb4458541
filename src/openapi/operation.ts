import * as z from "zod"
import type {
  ZodOpenApiOperationObject,
  ZodOpenApiRequestBodyObject,
  ZodOpenApiResponseObject,
} from "zod-openapi"
import { ACCEPT_ENCODING } from "../http/body/encodings.ts"
import {
  bodyCutOff,
  bodyTimeout,
  bodyTooLarge,
  changeInDoubt,
  databaseNotReady,
  forbidden,
  inDoubt,
  invalidShape,
  keyNotChecked,
  methodNotAllowed,
  overloaded,
  Problem,
  tooManyContainers,
  tooManyRequests,
  tooManySignals,
  unauthorized,
  unavailable,
  unsupportedEncoding,
  unsupportedMediaType,
} from "../http/request/problems.ts"
import { Failure, ProblemCode } from "../signals/responses.ts"
import type { Scope } from "../signals/rules.ts"
import type { ShapeError } from "../signals/shape-errors.ts"
import { TRANSACTION_ID } from "./examples.ts"

const Sentence = z
  .object({ detail: z.string().meta({ description: "One sentence." }), code: ProblemCode })
  .meta({ id: "Problem" })

const ShapeProblem = z
  .object({
    detail: z.array(
      z.object({
        type: z.string().meta({ description: "A Pydantic v2 error type." }),
        loc: z.array(z.union([z.string(), z.int()])).meta({
          description: "Where the error is: body, query, path or header, then the path within it.",
        }),
        msg: z.string(),
        input: z.unknown().meta({ description: "The value that was sent, when it is short." }).optional(),
      }),
    ),
    code: ProblemCode,
  })
  .meta({ id: "ShapeProblem" })

const RejectedBatch = z
  .object({
    detail: z.string(),
    code: ProblemCode,
    errors: z
      .array(Failure)
      .optional()
      .meta({ description: "Every signal that failed; absent when the body was cut off." }),
  })
  .meta({ id: "RejectedBatch" })

const UnavailableProblem = z
  .object({
    detail: z.string(),
    code: ProblemCode,
    transaction_id: z.uuid().optional().meta({ description: "Given when the batch may have been stored." }),
  })
  .meta({ id: "UnavailableProblem" })

/** Example bodies by the name of their case. */
type Examples = Record<string, unknown>
export type Headers = Record<
  string,
  { description: string; schema: { type: "string"; enum?: string[] }; example?: string }
>

/** Converts example bodies to OpenAPI's form. */
export const examplesOf = (examples: Examples) =>
  Object.fromEntries(Object.entries(examples).map(([summary, value]) => [summary, { summary, value }]))

/** An answer with a JSON body. */
export const answer = (
  description: string,
  schema: z.ZodType,
  examples: Examples,
  headers?: Headers,
): ZodOpenApiResponseObject => ({
  description,
  ...(headers && { headers }),
  content: { "application/json": { schema, examples: examplesOf(examples) } },
})

/** An error answer. Its examples are the problems that the routes throw. */
export const refusal = (
  description: string,
  problems: Record<string, Problem>,
  schema: z.ZodType = Sentence,
) => {
  const bodies = Object.entries(problems).map(([name, { body }]) => [name, body])
  const headers = Object.assign(
    {},
    ...Object.values(problems).map((problem) => describeHeaders(problem.headers)),
  )
  return answer(
    description,
    schema,
    Object.fromEntries(bodies),
    Object.keys(headers).length > 0 ? headers : undefined,
  )
}

const HEADERS: Record<string, string> = {
  "Retry-After": "Seconds to wait before the next attempt.",
  "WWW-Authenticate": "The challenge (RFC 6750).",
  "Accept-Encoding": "The encodings that the service reads (RFC 9110).",
  Allow: "The methods of this path (RFC 9110).",
}

const describeHeaders = (headers: Record<string, string>) =>
  Object.fromEntries(
    Object.entries(headers).map(([name, example]) => [
      name,
      { description: HEADERS[name] ?? "", schema: { type: "string" as const }, example },
    ]),
  )

/** The 400 of an all-or-nothing batch, or of a body that was cut off. */
export const rejected = (description: string, problems: Record<string, Problem>) =>
  refusal(description, { ...problems, "cut off": bodyCutOff() }, RejectedBatch)

/** A 503 that `UnavailableProblem` describes. */
export const unreachable = (description: string, problems: Record<string, Problem>) =>
  refusal(description, problems, UnavailableProblem)

const ACCESS = (scope: Scope) => ({
  401: refusal("No key, or an unknown one.", {
    "no key": unauthorized("Send an API key as Authorization: Bearer KEY."),
    "unknown key": unauthorized("This API key is not known."),
  }),
  403: refusal("The key lacks the scope.", { "another scope": forbidden(scope) }),
})

export const TOO_MANY_REQUESTS = refusal("Over the rate limit.", { "too many": tooManyRequests(10) })

const UNREACHABLE = {
  unreachable: unavailable(),
  "not ready": databaseNotReady(),
  "key not checked": keyNotChecked(),
}

/** The 503 of a request that changes something, and sends no signals. */
export const CHANGE_UNREACHABLE = unreachable("The database cannot be reached in time.", {
  ...UNREACHABLE,
  "in doubt": changeInDoubt(),
})

/** A path's answer to a method that it does not have. An operation never gives it. */
export const METHOD_NOT_ALLOWED = refusal("The path does not have this method.", {
  "not post": methodNotAllowed(["POST"]),
})

const OF_BODIES = {
  400: refusal("The connection ended before the body did; nothing was stored.", { "cut off": bodyCutOff() }),
  408: refusal("The body took too long to arrive; nothing was stored.", {
    "too slow": bodyTimeout(),
  }),
  413: refusal("Over a limit, which the answer names; nothing was stored.", {
    "too many signals": tooManySignals(10_000),
    "too many containers": tooManyContainers(),
    "too large": bodyTooLarge(8_388_608),
  }),
  415: refusal("A content type or encoding that the service does not read.", {
    "content type": unsupportedMediaType("text/csv"),
    encoding: unsupportedEncoding("compress", ACCEPT_ENCODING),
  }),
  503: unreachable("The service cannot store now.", {
    ...UNREACHABLE,
    "in doubt": inDoubt(TRANSACTION_ID),
    "in doubt under a key": inDoubt(TRANSACTION_ID, { underKey: true }),
    overloaded: overloaded(),
  }),
}

type Refused = Record<string, Problem | ShapeError[]>

/** An operation, without the parts that all of them share. */
interface Route {
  id: string
  tag: string
  summary: string
  description?: string
  /** The scope that the key must have. An operation without one needs no key. */
  scope?: Scope
  params?: NonNullable<ZodOpenApiOperationObject["requestParams"]>
  body?: ZodOpenApiRequestBodyObject
  /** Its own answers by status; they replace the shared ones. */
  answers: Record<number, ZodOpenApiResponseObject>
  /** The 422 by case: a problem, or its validation errors. */
  unreadable?: Refused
}

/**
 * Adds the shared answers: 401, 403, 429 and 503 for a key; 400, 408, 413, 415 and 503 for a body; 422 for
 * `unreadable`.
 */
export function operation(route: Route): ZodOpenApiOperationObject {
  const { id, tag, summary, description, scope, params, body, unreadable } = route
  return {
    operationId: id,
    tags: [tag],
    summary,
    ...(description !== undefined && { description }),
    ...(!scope && { security: [] }),
    ...(params && { requestParams: params }),
    ...(body && { requestBody: body }),
    responses: {
      ...(scope && {
        ...ACCESS(scope),
        429: TOO_MANY_REQUESTS,
        503: unreachable("The database cannot be reached in time.", UNREACHABLE),
      }),
      ...(body && OF_BODIES),
      ...(unreadable && { 422: unreadableAnswer(unreadable) }),
      ...route.answers,
    },
  }
}

const unreadableAnswer = (errors: Refused) =>
  answer(
    "Not readable, or the wrong shape; nothing was stored. The first 100 errors are listed.",
    ShapeProblem,
    Object.fromEntries(
      Object.entries(errors).map(([name, detail]) => [
        name,
        detail instanceof Problem ? detail.body : invalidShape(detail).body,
      ]),
    ),
  )

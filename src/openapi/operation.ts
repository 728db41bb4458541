import * as z from "zod"
import type { ZodOpenApiOperationObject, ZodOpenApiRequestBodyObject, ZodOpenApiResponseObject } from "zod-openapi"
import {
  bodyTooLarge,
  databaseNotReady,
  forbidden,
  inDoubt,
  type Problem,
  tooManyRequests,
  tooManySignals,
  unauthorized,
  unavailable,
  unsupportedEncoding,
  unsupportedMediaType,
} from "../http/problems.ts"
import { Failure } from "../signals/responses.ts"
import type { Scope } from "../signals/scopes.ts"
import { TRANSACTION_ID } from "./examples.ts"

const Sentence = z.object({ detail: z.string().meta({ description: "One sentence." }) }).meta({ id: "Problem" })

const ShapeProblem = z
  .object({
    detail: z.array(
      z.object({
        type: z.string().meta({ description: "A Pydantic v2 error type." }),
        loc: z
          .array(z.union([z.string(), z.int()]))
          .meta({ description: "Where: body, query, path or header, and on from there." }),
        msg: z.string(),
        input: z.unknown().meta({ description: "What was sent, when it is a short value." }).optional(),
      }),
    ),
  })
  .meta({ id: "ShapeProblem" })

const RejectedBatch = z.object({ detail: z.string(), errors: z.array(Failure) }).meta({ id: "RejectedBatch" })

const UnavailableProblem = z
  .object({
    detail: z.string(),
    transaction_id: z.uuid().optional().meta({ description: "Given when the batch may have been stored." }),
  })
  .meta({ id: "UnavailableProblem" })

/** Bodies by what they are an example of. */
type Examples = Record<string, unknown>
export type Headers = Record<string, { description: string; schema: { type: "string"; enum?: string[] }; example?: string }>

/** Bodies as OpenAPI wants examples, each under what it is an example of. */
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

/** A refusal, its examples being the very problems that routes throw. */
export const refusal = (description: string, problems: Record<string, Problem>, schema: z.ZodType = Sentence) => {
  const bodies = Object.entries(problems).map(([name, { body }]) => [name, body])
  const headers = Object.assign({}, ...Object.values(problems).map((problem) => describeHeaders(problem.headers)))
  return answer(description, schema, Object.fromEntries(bodies), Object.keys(headers).length > 0 ? headers : undefined)
}

const HEADERS: Record<string, string> = {
  "Retry-After": "Seconds after which to come back.",
  "WWW-Authenticate": "What a key would have to be (RFC 6750).",
  "Accept-Encoding": "The encodings that are read (RFC 9110).",
}

const describeHeaders = (headers: Record<string, string>) =>
  Object.fromEntries(
    Object.entries(headers).map(([name, example]) => [
      name,
      { description: HEADERS[name] ?? "", schema: { type: "string" as const }, example },
    ]),
  )

/** The 400 of an all-or-nothing batch. */
export const rejected = (description: string, problems: Record<string, Problem>) => refusal(description, problems, RejectedBatch)

/** A 503 that `UnavailableProblem` describes. */
export const unreachable = (description: string, problems: Record<string, Problem>) =>
  refusal(description, problems, UnavailableProblem)

const ACCESS = (scope: Scope) => ({
  401: refusal("No key, or one that is not known.", {
    "no key": unauthorized("Send an API key as Authorization: Bearer KEY."),
    "unknown key": unauthorized("This API key is not known."),
  }),
  403: refusal("The key lacks the scope.", { "another scope": forbidden(scope) }),
})

export const TOO_MANY_REQUESTS = refusal("Over the caller's rate.", { "too many": tooManyRequests(10) })

const UNREACHABLE = { unreachable: unavailable(), "not ready": databaseNotReady() }

const OF_BODIES = {
  413: refusal("Over a limit, which is named.", {
    "too many signals": tooManySignals(10_000),
    "too large": bodyTooLarge(8_388_608),
  }),
  415: refusal("A content type or encoding that is not read here.", {
    "content type": unsupportedMediaType("text/csv"),
    encoding: unsupportedEncoding("br"),
  }),
  503: unreachable("The database can't be reached in time.", { ...UNREACHABLE, "in doubt": inDoubt(TRANSACTION_ID) }),
}

type Refused = Record<string, Problem["body"]["detail"]>

/** An operation, without what it has in common with all the others. */
interface Route {
  id: string
  tag: string
  summary: string
  description?: string
  /** The scope that its key must have. Without one no key is asked for. */
  scope?: Scope
  params?: NonNullable<ZodOpenApiOperationObject["requestParams"]>
  body?: ZodOpenApiRequestBodyObject
  /** Its own answers by status; they go before those that all have in common. */
  answers: Record<number, ZodOpenApiResponseObject>
  /** What it says of requests that it can't read. */
  unreadable?: Refused
}

/** Adds what every operation of its kind answers: 401, 403, 429 and 503 with a key, 413, 415 and 503 with a body, 422 when it may be unreadable. */
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
        503: unreachable("The database can't be reached in time.", UNREACHABLE),
      }),
      ...(body && OF_BODIES),
      ...(unreadable && { 422: unreadableAnswer(unreadable) }),
      ...route.answers,
    },
  }
}

const unreadableAnswer = (faults: Refused) =>
  answer(
    "Not readable, or the wrong shape; nothing was stored. Every fault is listed, up to 100.",
    ShapeProblem,
    Object.fromEntries(Object.entries(faults).map(([name, detail]) => [name, { detail }])),
  )

import type {
  ZodOpenApiObject,
  ZodOpenApiOperationObject,
  ZodOpenApiPathItemObject,
  ZodOpenApiResponseObject,
} from "zod-openapi"
import {
  ALLOWED_HEADERS,
  ALLOWED_METHODS,
  EXPOSED_HEADERS,
  MAX_AGE_SECONDS,
} from "../http/request/origins.ts"

type Paths = NonNullable<ZodOpenApiObject["paths"]>

/** A header that is shared by many routes. */
interface SharedHeader {
  description: string
  example: string
  /** The paths that use it. */
  on: (path: string) => boolean
}

/** The assets serve the document itself. */
const ofTheWorker = (path: string) => path !== "/openapi.json"
const ofTheApi = (path: string) => path.startsWith("/api/")
const limited = (path: string) =>
  ofTheApi(path) || path.startsWith("/webhooks/") || ["/metrics", "/readyz"].includes(path)

const TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
const REQUEST_ID = "5f0e6c1e-8b6f-4c6f-9d0e-2f4b7c1a9e33"

export const REQUEST_HEADERS: Record<string, SharedHeader> = {
  traceparent: {
    description:
      "The trace that the request is a part of (W3C Trace Context). The service's log lines, the queue and its consumer continue it. One that is not valid is ignored.",
    example: TRACEPARENT,
    on: ofTheWorker,
  },
  "X-Request-Id": {
    description:
      "The caller's own name for the request: up to 255 letters, digits and `_=-`. `X-Client-Request-Id` and the log repeat it.",
    example: "import-7",
    on: ofTheWorker,
  },
}

export const ANSWER_HEADERS: Record<string, SharedHeader> = {
  "X-Request-Id": {
    description: "The service's name for the request, also in its log.",
    example: REQUEST_ID,
    on: ofTheWorker,
  },
  "X-Client-Request-Id": {
    description: "The `X-Request-Id` that the request had, when it had a valid one.",
    example: "import-7",
    on: ofTheWorker,
  },
  "Server-Timing": {
    description:
      "Milliseconds spent on database calls (`db`) and on parsing the body (`validation`). A part that was not needed is absent.",
    example: "db;dur=4.2, validation;dur=0.8",
    on: ofTheApi,
  },
  "RateLimit-Policy": {
    description:
      "How many requests (`q`) an address and a caller may send in how many seconds (`w`), where the deployment sets limits (draft-ietf-httpapi-ratelimit-headers).",
    example: '"address";q=4000;w=10, "caller";q=2000;w=10',
    on: limited,
  },
  "Access-Control-Allow-Origin": {
    description: "The `Origin` of the request, when `CORS_ORIGINS` has it.",
    example: "https://app.example.com",
    on: ofTheApi,
  },
  "Access-Control-Expose-Headers": {
    description: "The headers of the answer that a page of that origin may read.",
    example: EXPOSED_HEADERS.join(","),
    on: ofTheApi,
  },
  Vary: { description: "`Origin`, when `CORS_ORIGINS` has any.", example: "Origin", on: ofTheApi },
}

const entriesOn = (headers: Record<string, SharedHeader>, path: string) =>
  Object.entries(headers).filter(([, { on }]) => on(path))

const text = { type: "string" as const }

/** The shared headers as components, for the `$ref`s to them. */
export const HEADER_COMPONENTS = {
  headers: Object.fromEntries(
    Object.entries(ANSWER_HEADERS).map(([name, { description, example }]) => [
      name,
      { description, example, schema: text },
    ]),
  ),
  parameters: Object.fromEntries(
    Object.entries(REQUEST_HEADERS).map(([name, { description, example }]) => [
      name,
      { name, in: "header" as const, required: false, description, example, schema: text },
    ]),
  ),
}

/** The answer to a preflight, which is not an operation. */
export const PREFLIGHT = {
  description:
    "What a page of an origin in `CORS_ORIGINS` may send, in the answer to its preflight (`OPTIONS`).",
  headers: {
    "Access-Control-Allow-Origin": { $ref: "#/components/headers/Access-Control-Allow-Origin" },
    ...Object.fromEntries(
      Object.entries({
        "Access-Control-Allow-Methods": ALLOWED_METHODS.join(","),
        "Access-Control-Allow-Headers": ALLOWED_HEADERS.join(","),
        "Access-Control-Max-Age": String(MAX_AGE_SECONDS),
      }).map(([name, example]) => [name, { description: "Of the Fetch standard.", example, schema: text }]),
    ),
  },
} satisfies ZodOpenApiResponseObject

/** Adds to every operation the headers that hold on its path. */
export const withSharedHeaders = (paths: Paths): Paths =>
  Object.fromEntries(Object.entries(paths).map(([path, item]) => [path, describeItem(path, item)]))

const describeItem = (path: string, item: ZodOpenApiPathItemObject): ZodOpenApiPathItemObject =>
  Object.fromEntries(
    Object.entries(item).map(([method, operation]) => [
      method,
      describeOperation(path, operation as ZodOpenApiOperationObject),
    ]),
  )

function describeOperation(path: string, operation: ZodOpenApiOperationObject): ZodOpenApiOperationObject {
  const parameters = entriesOn(REQUEST_HEADERS, path).map(([name]) => ({
    $ref: `#/components/parameters/${name}`,
  }))
  const shared = entriesOn(ANSWER_HEADERS, path).map(([name]) => [
    name,
    { $ref: `#/components/headers/${name}` },
  ])
  const responses = Object.entries(operation.responses).map(([status, response]) => {
    const { headers, ...rest } = response as ZodOpenApiResponseObject
    return [
      status,
      shared.length > 0 ? { ...rest, headers: { ...Object.fromEntries(shared), ...headers } } : response,
    ]
  })
  return {
    ...operation,
    ...(parameters.length > 0 && { parameters }),
    responses: Object.fromEntries(responses),
  }
}

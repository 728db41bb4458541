import { waitUntil } from "cloudflare:workers"
import type { Bindings } from "../../bindings.ts"
import { Entrance, type Inside, type Sender } from "../../isolate/entrance.ts"
import { recordPoint } from "../../metrics/points.ts"
import { isLineFull } from "../../store/database/connection.ts"
import { noteArrival } from "../request/context.ts"
import { pageHeaders } from "../request/origins.ts"
import { overloaded } from "../request/problems.ts"
import { isOverloaded, nextReturn } from "./admission.ts"

/** The refusals of this time share a log line and a data point. */
const REFUSALS_OVER_MS = 1000
/** The shortest time between two looks at how late the event loop is. */
const LOOK_EVERY_MS = 100
/** The runtime ends work in `waitUntil` after 30 seconds, also a look that has not ended. */
const LONGEST_LOOK_MS = 30_000

/** The entrance of this isolate. */
export const entrance = new Entrance()

/** When the look at the event loop began that has not ended, in milliseconds since the epoch. */
let lookingSince = Number.NEGATIVE_INFINITY

/** How many requests have been refused since the last log line. */
let refused = 0

/**
 * Answers a request, when it may enter, or refuses it when too many wait already. A request waits and is
 * refused before anything else is done for it: a context, its key, its body, a log line. More callers than an
 * isolate can serve must not take the CPU that is needed to serve some.
 */
export function letIn(
  request: Request,
  env: Bindings,
  answer: () => Response | Promise<Response>,
): Response | Promise<Response> {
  const path = request.url.slice(request.url.indexOf("/", "https://".length))
  if (request.method === "OPTIONS" || !(path.startsWith("/api/") || path.startsWith("/webhooks/")))
    return answer()
  lookAtLoop()
  const isRead = request.method === "GET" || request.method === "HEAD"
  if (isRead ? isLineFull("reads") : isOverloaded()) return refuse(request, env, isRead)
  const asked = { answer, isRead, isLong: LONG_READS.test(path) }
  const inside = entrance.enterAtOnce(senderOf(request))
  return inside ? leaving(request, inside, asked) : enterLater(request, env, asked)
}

/** Cloudflare sets the address. */
const senderOf = ({ headers }: Request): Sender =>
  [headers.get("CF-Connecting-IP"), headers.get("Authorization")].filter((name) => name !== null)

interface Asked {
  answer: () => Response | Promise<Response>
  isRead: boolean
  isLong: boolean
}

/** Long reads mostly wait, so that they do not count as inside. */
const LONG_READS = /^\/api\/signals\/(feed|export)\b/

async function enterLater(request: Request, env: Bindings, asked: Asked): Promise<Response> {
  noteArrival(request)
  const inside = await entrance.enter(request.signal, senderOf(request))
  return inside ? leaving(request, inside, asked) : refuse(request, env, asked.isRead)
}

/** The requests inside that have a body. */
const withBody = new WeakMap<Request, Inside>()

/**
 * Reads the body of a request by `read`. A request that waits for its client does not keep others out.
 *
 * @throws {Problem} 503: it was outside meanwhile, and could not enter again in time; nothing was stored.
 *   Also what `read` throws
 */
export async function readingBody<Body>(request: Request, read: () => Promise<Body>): Promise<Body> {
  const inside = withBody.get(request)
  if (!inside) return read()
  entrance.pause(inside)
  const body = await read()
  if (!(await entrance.resume(inside, request.signal))) throw overloaded(nextReturn())
  return body
}

async function leaving(
  request: Request,
  inside: Inside,
  { answer, isLong }: Pick<Asked, "answer" | "isLong">,
): Promise<Response> {
  if (isLong) entrance.leave(inside)
  else if (request.body) withBody.set(request, inside)
  try {
    return await answer()
  } finally {
    entrance.leave(inside)
  }
}

function refuse(request: Request, env: Bindings, isRead: boolean): Response {
  if (refused++ === 0) waitUntil(noteRefusals(env))
  const { body, status, headers } = overloaded(isRead ? undefined : nextReturn())
  return Response.json(body, {
    status,
    headers: {
      ...headers,
      ...pageHeaders(request, env),
      "Cache-Control": "no-store",
      "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
      "X-Content-Type-Options": "nosniff",
      "X-Request-Id": crypto.randomUUID(),
    },
  })
}

/** Measures how late a timer is, at most once at a time. */
function lookAtLoop(): void {
  const now = Date.now()
  if (now - lookingSince < LONGEST_LOOK_MS) return
  lookingSince = now
  waitUntil(
    new Promise<void>((resolve) =>
      setTimeout(() => {
        entrance.turn(Date.now() - now - LOOK_EVERY_MS)
        lookingSince = Number.NEGATIVE_INFINITY
        resolve()
      }, LOOK_EVERY_MS),
    ),
  )
}

async function noteRefusals(env: Bindings): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, REFUSALS_OVER_MS))
  const count = refused
  refused = 0
  console.log(
    JSON.stringify({ event: "refusals", code: "overloaded", status: 503, count, ms: REFUSALS_OVER_MS }),
  )
  await recordPoint(
    env.METRICS,
    {
      route: "(refused)",
      mode: "",
      outcome: "unavailable",
      status: 503,
      caller: "",
      source: "",
      total: 0,
      latencyMs: 0,
      databaseMs: 0,
      bytes: 0,
      databaseAttempts: 0,
      kind: "",
      skipped: 0,
    },
    { sources: new Map(), codes: new Map() },
  )
}

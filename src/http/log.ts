import { createMiddleware } from "hono/factory"
import { spanForLog } from "../trace/context.ts"
import { type App, routeOf } from "./context.ts"

/**
 * Writes one line of JSON for each request. It has only counts and names: never a key, a body, or a
 * connection string.
 */
export const logRequest = createMiddleware<App>(async (c, next) => {
  const startedAt = Date.now()
  await next()
  // A source is text of the sender, so the log leaves it out.
  const { transactionId, source, sources, codes, ...outcome } = c.get("outcome") ?? {}
  const usage = c.get("db")?.usage
  console.log(
    JSON.stringify({
      event: "request",
      request_id: c.get("requestId"),
      client_request_id: c.get("clientRequestId"),
      ...spanForLog(c.get("span")),
      method: c.req.method,
      route: routeOf(c),
      status: c.res.status,
      ms: Date.now() - startedAt,
      caller: c.get("caller")?.name,
      ...outcome,
      codes: codes?.size ? Object.fromEntries(codes) : undefined,
      transaction_id: transactionId,
      database_attempts: usage?.attempts,
      database_ms: usage?.ms,
    }),
  )
})

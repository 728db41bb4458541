import { createMiddleware } from "hono/factory"
import type { App } from "./context.ts"
import { crossSite } from "./problems.ts"

/**
 * With open access, refuses requests from pages of other sites: such a page could otherwise write signals
 * through its visitor's browser (a form, or `fetch` without CORS, needs no permission). Programs other than
 * browsers send neither header. Pages of the origins in `CORS_ORIGINS` may call /api.
 *
 * @see https://www.w3.org/TR/fetch-metadata/#sec-fetch-site-header
 */
export const refuseCrossSite = createMiddleware<App>(async (c, next) => {
  const { open, origins } = c.get("settings").access
  const isListed = c.req.path.startsWith("/api/") && origins.includes(c.req.header("Origin") ?? "")
  if (open && !isListed && isCrossSite(c.req.raw.headers)) throw crossSite()
  await next()
})

function isCrossSite(headers: Headers): boolean {
  const site = headers.get("Sec-Fetch-Site")
  // "none": a user typed the address.
  if (site !== null) return site !== "same-origin" && site !== "none"
  const origin = headers.get("Origin")
  return origin !== null && URL.parse(origin)?.host !== headers.get("Host")
}

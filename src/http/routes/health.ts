import { Hono } from "hono"
import { canWrite } from "../../store/database/connection.ts"
import type { App } from "../context.ts"
import { limitAddress } from "../limits.ts"
import { databaseNotReady } from "../problems.ts"

/** GET /readyz: whether the service can store a batch now. It needs no key, so it is limited by address. */
export const readiness = new Hono<App>().get("/", limitAddress, async (c) => {
  if (!(await canWrite(c.get("db")))) throw databaseNotReady()
  return c.json({ status: "ready" })
})

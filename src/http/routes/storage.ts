import { Hono } from "hono"
import { storageFigures } from "../../store/lifecycle/storage.ts"
import { requireScope } from "../auth.ts"
import type { App } from "../context.ts"

/** GET /api/storage: what the tables hold, and when the oldest of it goes. */
export const storage = new Hono<App>().get("/", requireScope("read"), async (c) =>
  c.json(await storageFigures(c.get("db"), c.get("settings").retention)),
)

import { Hono } from "hono"
import { storageFigures } from "../../store/lifecycle/storage.ts"
import { requireScope } from "../auth.ts"
import type { App } from "../context.ts"

/** GET /api/storage: the size of the tables, and when the oldest signals are deleted. */
export const storage = new Hono<App>().get("/", requireScope("read"), async (c) =>
  c.json(await storageFigures(c.get("db"), c.get("settings").retention)),
)

import type * as z from "zod"
import { shapeErrors } from "../signals/shape-errors.ts"
import { invalidShape } from "./problems.ts"

type Validated = { success: true } | { success: false; error: z.core.$ZodError; data: unknown }

/** FastAPI's name for each part of a request, by Hono's name. */
const PLACES = { query: "query", param: "path" } as const

/** The hook of every `zValidator`: turns zod's issues into a 422. */
export function refuseShape(result: Validated & { target: keyof typeof PLACES }): void {
  if (!result.success)
    throw invalidShape(shapeErrors(result.error.issues, result.data, [PLACES[result.target]]))
}

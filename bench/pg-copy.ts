import { createRequire } from "node:module"
import type { Writable } from "node:stream"
import type { Submittable } from "pg"

/** pg-copy-streams has no types of its own. */
const streams = createRequire(import.meta.url)("pg-copy-streams") as { from(text: string): Writable & Submittable }

/** A stream into `COPY ... FROM STDIN`, to be given to `client.query`. */
export const copyFrom = (text: string) => streams.from(text)

import * as z from "zod"
import { isFields } from "../../signals/json.ts"

/**
 * Where a field of a signal comes from: names into the record's value, with dots between, or a part of the
 * record itself.
 */
const Path = z
  .string()
  .regex(/^(\$(key|subject|topic|timestamp|value)|\$(headers|cloudevent)\.[^.]+|[^.$]+)(\.[^.]+)*$/, {
    error:
      "must be field names with dots between, or begin with $key, $subject, $topic, $timestamp, $value, $headers.NAME or $cloudevent.NAME",
  })

/** One path, or several of which the first that exists is read. */
const Paths = z.union([Path.transform((path) => [path]), z.array(Path).min(1)])

/**
 * The setting KAFKA_FIELD_MAPPING: the paths of a signal's fields in a record whose value is not a signal
 * itself. A field that is not named keeps its default.
 */
export const FieldMapping = z.strictObject({
  conversation: Paths.default(["$key", "$subject"]),
  text: Paths.default(["text", "message"]),
  source: Paths.optional(),
  time: Paths.default(["$timestamp"]),
  score: Paths.optional(),
  tone: Paths.optional(),
  user: Paths.optional(),
  agent: Paths.optional(),
  dedupe_key: Paths.optional(),
})
export type FieldMapping = z.infer<typeof FieldMapping>

/**
 * What `path` leads to in `root`, where a name that begins with $ is one of `root`'s own; undefined when
 * there is nothing. An empty text is nothing, since some sinks give one to a record that has no key.
 */
export function follow(root: Record<string, unknown>, path: string): unknown {
  const names = path.startsWith("$") ? path.slice(1).split(".") : ["value", ...path.split(".")]
  let found: unknown = root
  for (const name of names) {
    if (Array.isArray(found)) found = byName(found)
    if (typeof found !== "object" || found === null || JSON.isRawJSON(found) || !Object.hasOwn(found, name))
      return undefined
    found = (found as Record<string, unknown>)[name]
  }
  return found === "" ? undefined : (found ?? undefined)
}

/** A list of named things, as headers are in many a consumer's records, by their names. */
const byName = (list: readonly unknown[]): Record<string, unknown> =>
  Object.fromEntries(
    list.flatMap((one) => {
      if (!isFields(one) || !("value" in one)) return []
      const name = one.key ?? one.name
      // Anything else has no text, or one that only the runtime gives it.
      return typeof name === "string" ? [[name, one.value]] : []
    }),
  )

/** The first of `paths` that leads to something. */
export const first = (root: Record<string, unknown>, paths: readonly string[] = []): unknown =>
  paths.map((path) => follow(root, path)).find((found) => found !== undefined)

/** How a sentence names these paths. */
export const spoken = (paths: readonly string[]) => paths.join(" or ")

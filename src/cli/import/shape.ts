import { Signal, withPlainNumbers } from "../../signals/schema.ts"
import { shapeErrors } from "../../signals/shape-errors.ts"

/** The first shape error of a signal in the service's own words; undefined when it has none. */
export function findShapeError(signal: Record<string, unknown>): string | undefined {
  const { error } = Signal.safeParse(withPlainNumbers({ ...signal }))
  if (!error) return undefined
  const [first] = shapeErrors(error.issues, signal, ["body"])
  return first && [first.loc.slice(1).join("."), first.msg].filter((part) => part !== "").join(": ")
}

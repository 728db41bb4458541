import { Signal, withPlainNumbers } from "../../signals/schema.ts"
import { shapeErrors } from "../../signals/shape-errors.ts"

/** Returns the first validation error of a signal in the words of the service; undefined when there is none. */
export function findShapeError(signal: Record<string, unknown>): string | undefined {
  const { error } = Signal.safeParse(withPlainNumbers({ ...signal }))
  if (!error) return undefined
  const [first] = shapeErrors(error.issues, signal, ["body"])
  return first && [first.loc.slice(1).join("."), first.msg].filter((part) => part !== "").join(": ")
}

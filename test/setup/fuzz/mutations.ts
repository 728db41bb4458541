import fc from "fast-check"
import { numberText, text } from "./values.ts"

/** One edit of a text; positions are parts of its length, so that an edit fits any text. */
type Edit =
  | { kind: "insert"; at: number; snippet: string }
  | { kind: "remove"; at: number; length: number }
  | { kind: "repeat"; at: number; length: number; times: number }
  | { kind: "cut"; at: number }

const at = fc.integer({ min: 0, max: 9999 })
const snippet = fc.oneof(
  text,
  numberText,
  fc.constantFrom(
    ...'{ } [ ] , : " \\ \\u000 e -'.split(" "),
    "\uFEFF",
    "\0",
    "\n",
    "\r\n",
    "null",
    "//",
    "/**/",
    "'",
    "NaN",
  ),
)

const edit: fc.Arbitrary<Edit> = fc.oneof(
  fc.record({ kind: fc.constant("insert" as const), at, snippet }),
  fc.record({ kind: fc.constant("remove" as const), at, length: fc.integer({ min: 1, max: 20 }) }),
  fc.record({
    kind: fc.constant("repeat" as const),
    at,
    length: fc.integer({ min: 1, max: 20 }),
    times: fc.constantFrom(1, 2, 50, 1000),
  }),
  fc.record({ kind: fc.constant("cut" as const), at }),
)

function applyEdit(before: string, one: Edit): string {
  const position = Math.floor((one.at / 10_000) * (before.length + 1))
  switch (one.kind) {
    case "insert":
      return before.slice(0, position) + one.snippet + before.slice(position)
    case "remove":
      return before.slice(0, position) + before.slice(position + one.length)
    case "repeat":
      return (
        before.slice(0, position) +
        before.slice(position, position + one.length).repeat(one.times) +
        before.slice(position)
      )
    case "cut":
      return before.slice(0, position)
  }
}

/** The texts of `base`, half of them with one to three edits. */
export const edited = (base: fc.Arbitrary<string>): fc.Arbitrary<string> =>
  fc.oneof(
    base,
    fc
      .tuple(base, fc.array(edit, { minLength: 1, maxLength: 3 }))
      .map(([before, edits]) => edits.reduce(applyEdit, before)),
  )

/** The same for bytes, where an edit writes bytes of its own. */
export const editedBytes = (base: fc.Arbitrary<Uint8Array>): fc.Arbitrary<Uint8Array> =>
  fc
    .tuple(
      base,
      fc.array(
        fc.tuple(
          at,
          fc.uint8Array({ minLength: 0, maxLength: 6 }),
          fc.constantFrom("over", "into", "cut", "end"),
        ),
        {
          maxLength: 2,
        },
      ),
    )
    .map(([bytes, edits]) => edits.reduce(applyToBytes, bytes))

function applyToBytes(before: Uint8Array, [where, bytes, kind]: [number, Uint8Array, string]): Uint8Array {
  const position = Math.floor((where / 10_000) * (before.length + 1))
  const parts = {
    over: [before.subarray(0, position), bytes, before.subarray(position + bytes.length)],
    into: [before.subarray(0, position), bytes, before.subarray(position)],
    cut: [before.subarray(0, position)],
    end: [before, bytes],
  }[kind] ?? [before]
  const joined = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let offset = 0
  for (const part of parts) {
    joined.set(part, offset)
    offset += part.length
  }
  return joined
}

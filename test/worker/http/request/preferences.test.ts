import { describe, expect, it } from "vitest"
import { readPreferences } from "../../../../src/http/request/headers.ts"

const read = (header: string | undefined) => Object.fromEntries(readPreferences(header))

describe("a Prefer header", () => {
  it.each([
    [undefined, {}],
    ["", {}],
    ["return=minimal", { return: "minimal" }],
    ["Return = minimal, respond-async", { return: "minimal", "respond-async": "" }],
    ['return="minimal"', { return: "minimal" }],
    ["respond-async; wait=10, handling=lenient", { "respond-async": "", handling: "lenient" }],
    [", ,respond-async,", { "respond-async": "" }],
    ['foo="x, return=minimal"', { foo: "x, return=minimal" }],
    ['foo="a \\" b", respond-async', { foo: 'a " b', "respond-async": "" }],
    ["foo=1, foo=2", { foo: "1" }],
    ['foo=""', { foo: "" }],
    ["respond-async;;", { "respond-async": "" }],
    ["return=minimal  ", { return: "minimal" }],
  ])("%s", (header, preferences) => expect(read(header)).toEqual(preferences))

  it.each(['return="minimal', "return=min imal", "=x", "a=b=c", 'a="\n"', `a=${"x".repeat(1000)}`])(
    "that does not follow the grammar has no preferences: %s",
    (header) => expect(read(header)).toEqual({}),
  )
})

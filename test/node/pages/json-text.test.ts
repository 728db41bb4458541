import fc from "fast-check"
import { describe, expect, it } from "vitest"
import { indented, members } from "../../../src/pages/dashboard/base/json-text.ts"

const json = fc.json({ depthSize: "medium", maxDepth: 5 })

describe("JSON as text", () => {
  it("keeps the value and every digit when it is laid out", () => {
    expect(indented('{"a":12345678901234567890.10,"b":[],"c":[1,{"d":"}:,\\""}]}')).toBe(
      [
        "{",
        '  "a": 12345678901234567890.10,',
        '  "b": [],',
        '  "c": [',
        "    1,",
        "    {",
        '      "d": "}:,\\""',
        "    }",
        "  ]",
        "}",
      ].join("\n"),
    )
    fc.assert(
      fc.property(json, (text) => {
        expect(JSON.parse(indented(text))).toEqual(JSON.parse(text))
      }),
    )
  })

  it("returns the text of each member of an object", () => {
    const text = '{"id":1,"payload":{"n":0.1000,"id":[2,{"x":","}]},"last":"a:b"}'
    expect([...members(text)]).toEqual([
      ["id", "1"],
      ["payload", '{"n":0.1000,"id":[2,{"x":","}]}'],
      ["last", '"a:b"'],
    ])
    const object = fc.dictionary(fc.string(), fc.jsonValue())
    fc.assert(
      fc.property(object, (value) => {
        const found = [...members(JSON.stringify(value))].map(([name, part]) => [name, JSON.parse(part)])
        expect(found).toEqual(Object.entries(JSON.parse(JSON.stringify(value)) as object))
      }),
    )
  })
})

import fc from "fast-check"
import { describe, expect, it } from "vitest"
import { splitJoined } from "../../../../src/bridges/kafka/requests.ts"

describe("values that are joined", () => {
  it("are separated, whatever stands between them and in their texts", () =>
    fc.assert(
      fc.property(
        fc.array(fc.oneof(fc.object(), fc.array(fc.jsonValue())), { minLength: 1 }),
        fc.constantFrom("", ",", " , ", ",\n", "\n\n", "\r\n"),
        fc.constantFrom(undefined, 2),
        (values, separator, indent) => {
          const texts = values.map((value) => JSON.stringify(value, undefined, indent))
          expect(splitJoined(texts.join(separator), 10_000)).toEqual(texts)
        },
      ),
    ))

  it.each(["1, 2", "{} x {}", '{"a": 1', '{"a": "}', "}{", '"a" {}'])(
    "are not separated where anything else stands between them, or the last has no end: %s",
    (text) => expect(splitJoined(text, 10_000)).toBeUndefined(),
  )

  it("are separated in linear time", () => expect(splitJoined("[".repeat(5_000_000), 10_000)).toBeUndefined())
})

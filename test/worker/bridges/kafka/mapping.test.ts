import { describe, expect, it } from "vitest"
import { FieldMapping, follow } from "../../../../src/bridges/kafka/mapping.ts"

describe("the field mapping", () => {
  it("has defaults, so that it need not be set", () =>
    expect(FieldMapping.parse({})).toEqual({
      conversation: ["$key", "$subject"],
      text: ["text", "message"],
      time: ["$timestamp"],
    }))

  it.each([
    { conversation: "" },
    { conversation: "a..b" },
    { conversation: ".a" },
    { conversation: "$partition" },
    { conversation: "$headers" },
    { conversation: [] },
    { conversation: 7 },
    { room: "a" },
  ])("refuses what it can't follow: %j", (mapping) =>
    expect(FieldMapping.safeParse(mapping).success).toBe(false),
  )

  it.each([
    ["room.id", 7],
    ["$value.room.id", 7],
    ["$key", "k"],
    ["$headers.app", "crm"],
    ["room.name", undefined],
    ["room.id.deeper", undefined],
    ["toString", undefined],
    ["nothing", undefined],
  ])("follows %s", (path, found) => {
    const record = { key: "k", headers: { app: "crm" }, value: { room: { id: 7 }, nothing: null } }
    expect(follow(record, path)).toBe(found)
  })

  it.each([
    ["an object", { toString: 1, valueOf: 1 }],
    ["a number of 20 digits", JSON.rawJSON("12345678901234567890")],
    ["null", null],
  ])("ignores a part with the name %s", (_, name) => {
    const headers = [
      { name, value: "wrong" },
      { key: name, value: "wrong" },
      { name: "room", value: "right" },
    ]
    expect(follow({ headers }, "$headers.room")).toBe("right")
  })
})

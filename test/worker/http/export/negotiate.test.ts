import { describe, expect, it } from "vitest"
import { preferredType } from "../../../../src/http/export/negotiate.ts"

const OFFERS = ["application/json", "application/x-ndjson", "text/csv"] as const

describe("content negotiation", () => {
  it.each<[header: string, expected: string | undefined]>([
    ["application/x-ndjson", "application/x-ndjson"],
    ["text/csv", "text/csv"],
    ["TEXT/CSV; Header=present", "text/csv"],
    ["text/*", "text/csv"],
    ["*/*", "application/json"],
    ["application/*", "application/json"],
    ["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "application/json"],
    ["application/x-ndjson, */*", "application/x-ndjson"],
    ["*/*, application/x-ndjson;q=0.5", "application/json"],
    ["application/json, text/csv", "application/json"],
    ["text/csv, application/json;q=0.9", "text/csv"],
    ["text/csv;q=0.2, application/x-ndjson;q=0.3", "application/x-ndjson"],
    ["application/json;q=0, */*;q=0.1", "application/x-ndjson"],
    ["text/csv;q=0", undefined],
    ['text/csv;a="b,c;q=0";q=0.5', "text/csv"],
    [" , text/csv ,", "text/csv"],
    ["text/plain", undefined],
    ["", undefined],
    ["text/csv; =", undefined],
    ["*/csv", undefined],
    [`${"a/b,".repeat(400)}text/csv`, undefined],
  ])("of %j is %s", (header, expected) => expect(preferredType(header, OFFERS)).toBe(expected))

  it("has no preference without a header", () => expect(preferredType(undefined, OFFERS)).toBeUndefined())
})

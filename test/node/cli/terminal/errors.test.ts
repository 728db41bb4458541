import { describe, expect, it } from "vitest"
import { reasonOf } from "../../../../src/cli/terminal/errors.ts"
import { DeadlineError, UnavailableError } from "../../../../src/client/index.ts"

describe("the reason that a command gives up", () => {
  it("names the request id, by which the service's log can be searched", () => {
    const last = new UnavailableError("The database cannot be reached.", { status: 503, requestId: "4f1c" })
    expect(reasonOf(new DeadlineError("no answer within 1000 ms", last))).toBe(
      "no answer within 1000 ms; the last answer: The database cannot be reached. (request 4f1c)",
    )
  })

  it("names no request id when the service did not answer", () =>
    expect(reasonOf(new DeadlineError("no answer"))).toBe("no answer"))
})

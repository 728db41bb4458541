import { afterEach, expect, it, vi } from "vitest"
import { errorForLog, LoggableError, platformErrorForLog } from "../../src/errors.ts"
import { BatchInDoubt } from "../../src/store/batches/batch.ts"
import { DatabaseError } from "../../src/store/database/errors.ts"

const SECRET = "a sender's text"

afterEach(() => vi.restoreAllMocks())

it.each([
  ["a SyntaxError, which quotes its input", () => JSON.parse(SECRET)],
  ["a TypeError", () => new URL(SECRET)],
  [
    "a plain Error",
    () => {
      throw new Error(SECRET)
    },
  ],
  [
    "a text that is thrown",
    () => {
      throw SECRET
    },
  ],
  [
    "an error with a cause",
    () => {
      throw new Error(SECRET, { cause: new Error(SECRET) })
    },
  ],
])("the log does not have the message of %s", (_, work) => {
  try {
    work()
    expect.unreachable()
  } catch (error) {
    expect(errorForLog(error)).toMatch(/^unexpected \w+/)
    expect(errorForLog(error)).not.toContain(SECRET)
    expect(errorForLog(error)).not.toContain("sender")
  }
})

it("the log has the message of an error of the service, and the cause of a batch in doubt", () => {
  const cause = new DatabaseError("transient", "timeout", true)
  expect(errorForLog(new LoggableError("no bucket is bound"))).toBe("no bucket is bound")
  expect(errorForLog(new BatchInDoubt({ transactionId: "0190" }, cause))).toBe(cause.message)
})

it("the log has the message of a plain error of Cloudflare's, and not that of a SyntaxError in its call", () => {
  expect(platformErrorForLog(new Error("Too Many Requests"))).toBe("Too Many Requests")
  expect(platformErrorForLog(new SyntaxError(SECRET))).not.toContain(SECRET)
})

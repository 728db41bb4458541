import { readFile } from "node:fs/promises"
import { join } from "node:path"
import { describe, expect, it } from "vitest"
import { FAILURE_CODES, PROBLEM_CODES } from "../../../src/signals/failures.ts"
import { MISMATCHES } from "../../../src/store/audit/records.ts"

const api = await readFile(join(import.meta.dirname, "../../../docs/api.md"), "utf8")

const yes = (retryable: boolean) => (retryable ? "yes" : "no")

/**
 * The rows that docs/api.md must have, in the order of the code. Copy what is missing from the test's
 * message.
 */
const PROBLEM_ROWS = Object.entries(PROBLEM_CODES).map(
  ([code, { status, meaning, retryable, cure }]) =>
    `| ${status} | \`${code}\` | ${meaning} | ${yes(retryable)} | ${cure} |`,
)
const FAILURE_ROWS = Object.entries(FAILURE_CODES).map(
  ([code, { meaning, retryable, cure }]) => `| \`${code}\` | ${meaning} | ${yes(retryable)} | ${cure} |`,
)

const rowsAfter = (head: string) => {
  const lines = api.split("\n")
  const start = lines.indexOf(head) + 2
  return start === 1
    ? []
    : lines.slice(start, start + lines.slice(start).findIndex((line) => !line.startsWith("|")))
}

describe("docs/operate.md", () => {
  it("has every mismatch of an audit", async () => {
    const page = await readFile(join(import.meta.dirname, "../../../docs/operate.md"), "utf8")
    for (const [kind, meaning] of Object.entries(MISMATCHES))
      expect(page).toContain(`| \`${kind}\` | ${meaning} |`)
  })
})

describe("docs/api.md", () => {
  it("has every code of a failed request, and no other", () =>
    expect(rowsAfter("| status | code | cause | send again | cure |")).toEqual(PROBLEM_ROWS))

  it("has every code of a failed signal, and no other", () =>
    expect(rowsAfter("| code | cause | retryable | cure |")).toEqual(FAILURE_ROWS))
})

describe("a code", () => {
  it.each([...Object.keys(PROBLEM_CODES), ...Object.keys(FAILURE_CODES)])("is snake_case: %s", (code) =>
    expect(code).toMatch(/^[a-z]+(_[a-z]+)*$/),
  )
})

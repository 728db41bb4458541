import { NeonDbError } from "@neondatabase/serverless"
import { describe, expect, it } from "vitest"
import { databaseErrorOf } from "../../../../src/store/database/errors.ts"

/** An error as the driver makes it from an answer with status 400. */
const fromPostgres = (code: string, message = "words of Postgres") =>
  Object.assign(new NeonDbError(message), { code })

/** An error as the driver makes it from any other status. */
const fromProxy = (status: number, body: string) =>
  new NeonDbError(`Server error (HTTP status ${status}): ${body}`)

const fromFetch = (name: string) => {
  const error = new NeonDbError("Error connecting to database")
  error.sourceError = Object.assign(new Error("Network connection lost."), { name })
  return error
}

describe("an error that was rolled back", () => {
  it.each(["40001", "40P01", "55P03", "57014", "57P03", "25006", "53100", "53300"])(
    "with SQLSTATE %s can be retried, and nothing was stored",
    (code) =>
      expect(databaseErrorOf(fromPostgres(code))).toMatchObject({
        kind: "transient",
        reason: code,
        mayHaveRun: false,
      }),
  )

  it.each([
    "Couldn't connect to compute node",
    "Control plane request failed",
    "Too many connections attempts",
  ])("of the proxy is recognized by its message: %s", (message) =>
    expect(databaseErrorOf(fromProxy(500, JSON.stringify({ message, code: "" })))).toMatchObject({
      kind: "transient",
      reason: "HTTP 500",
      mayHaveRun: false,
    }),
  )
})

describe("an error after which the statement may have run", () => {
  it.each(["08006", "57P01", "57P02", "58030", "XX000"])("with SQLSTATE %s can be retried", (code) =>
    expect(databaseErrorOf(fromPostgres(code))).toMatchObject({ kind: "transient", mayHaveRun: true }),
  )

  it.each([
    [fromPostgres("", "connection closed"), "HTTP 400"],
    [fromProxy(502, "<html>Bad Gateway</html>"), "HTTP 502"],
    [fromFetch("Error"), "unreachable"],
    [fromFetch("TimeoutError"), "timeout"],
  ])("is an error that does not report the statement: %s", (error, reason) =>
    expect(databaseErrorOf(error)).toMatchObject({ kind: "transient", reason, mayHaveRun: true }),
  )
})

describe("an answer whose body cannot be read", () => {
  it.each([
    [new SyntaxError("Unexpected token '<'"), "answer is not JSON"],
    [new TypeError("Cannot read properties of undefined (reading 'map')"), "answer cut short"],
    [new Error("Network connection lost."), "answer cut short"],
    [new DOMException("The operation timed out.", "TimeoutError"), "timeout"],
    [new DOMException("The operation was aborted.", "AbortError"), "answer cut short"],
    ["no error at all", "answer cut short"],
  ])("does not say whether the statement ran: %s", (thrown, reason) =>
    expect(databaseErrorOf(thrown)).toMatchObject({ kind: "transient", reason, mayHaveRun: true }),
  )
})

describe("a result that is larger than Neon sends", () => {
  it("never arrives, although the statement has run", () =>
    expect(databaseErrorOf(fromProxy(507, '{"message":"response is too large","code":""}'))).toMatchObject({
      kind: "too_large",
      reason: "HTTP 507",
      mayHaveRun: true,
    }))
})

describe("a missing partition", () => {
  it.each([
    fromPostgres("23514"),
    fromProxy(
      500,
      '{"message":"no partition of relation \\"signals\\" found for row","code":"23514","constraint":null}',
    ),
  ])("can be created, and nothing was stored: %#", (error) =>
    expect(databaseErrorOf(error)).toMatchObject({
      kind: "transient",
      reason: "missing partition",
      mayHaveRun: false,
    }),
  )
})

describe("an error of the values", () => {
  it("is a refusal where a value breaks a check", () =>
    expect(
      databaseErrorOf(Object.assign(fromPostgres("23514"), { constraint: "signals_signal_score_range" })),
    ).toMatchObject({
      kind: "refused",
      reason: "23514",
      mayHaveRun: false,
    }))

  it.each(["22003", "22P02", "23502", "23505", "44000", "54000", "P0001"])(
    "with SQLSTATE %s is a refusal",
    (code) =>
      expect(databaseErrorOf(fromPostgres(code))).toMatchObject({
        kind: "refused",
        reason: code,
        mayHaveRun: false,
      }),
  )
})

describe("an error that an operator must repair", () => {
  it.each([
    fromPostgres("42P01"),
    fromPostgres("42501"),
    fromPostgres("28000"),
    fromPostgres("", "password authentication failed for user 'neondb_owner'"),
    fromPostgres("", "invalid connection string: x"),
    fromProxy(500, '{"message":"Control plane request failed: endpoint cannot be found","code":""}'),
    fromProxy(500, '{"message":"database \\"x\\" does not exist","code":"3D000"}'),
    fromProxy(413, "{}"),
  ])("is not retried: %s", (error) =>
    expect(databaseErrorOf(error)).toMatchObject({ kind: "broken", mayHaveRun: false }),
  )

  it.each([
    [fromPostgres("42501"), "the role of DATABASE_URL lacks a privilege: grant it signal_ingest_writer"],
    [fromPostgres("42P01"), "a table is missing: run npm run db:migrate"],
    [
      fromPostgres("", "password authentication failed for user 's3cret'"),
      "the role or the password of DATABASE_URL is wrong",
    ],
    [fromPostgres("", "missing hostname"), "DATABASE_URL has no host that Neon knows"],
    [
      fromProxy(500, '{"message":"Control plane request failed: endpoint is disabled","code":""}'),
      "the Neon endpoint of DATABASE_URL is disabled",
    ],
    [
      fromProxy(
        402,
        '{"message":"Your account or project has exceeded the compute time quota. Upgrade your plan","code":""}',
      ),
      "Neon refuses the project: a quota or its access rules",
    ],
    [fromFetch("Error"), "no connection to the host of DATABASE_URL"],
  ])("names what to repair in its message: %s", (error, cure) => {
    const { message } = databaseErrorOf(error)
    expect(message).toContain(cure)
    expect(message).not.toContain("s3cret")
  })
})

describe("any error", () => {
  it("names no value, statement or address in its message", () =>
    expect(
      databaseErrorOf(fromPostgres("23505", 'Key (dedupe_key)=(s3cret) in "insert into signals"')).message,
    ).toBe("database error (refused): 23505"))
})

import { sql } from "drizzle-orm"
import { expect, it } from "vitest"
import { connect } from "../../../../src/store/database/connection.ts"
import { bindings } from "../../service.ts"

it("each connection sends its statements to its own endpoint, whatever others do meanwhile", async () => {
  const settings = { url: bindings.DATABASE_URL ?? "", deadlineMs: 5000 }
  const reachable = connect({ ...settings, httpEndpoint: bindings.DATABASE_HTTP_ENDPOINT })
  const unreachable = connect({ ...settings, httpEndpoint: "http://127.0.0.1:9/sql" })
  const one = () => reachable.query<{ one: number }>(sql`select 1 as one`)
  const other = () =>
    unreachable.query(sql`select 1`).then(
      () => "answered",
      () => "failed",
    )
  const first = await Promise.all([one(), other(), one(), other()])
  expect(first).toEqual([[{ one: 1 }], "failed", [{ one: 1 }], "failed"])
  const second = await Promise.all([other(), one(), other(), one()])
  expect(second).toEqual(["failed", [{ one: 1 }], "failed", [{ one: 1 }]])
})

import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { lockedTables, misstored, type Rig, sendBatch, startRig } from "../../setup/rig.ts"

let rig: Rig

/** With half a second for the database instead of ten. */
beforeAll(async () => {
  rig = await startRig({ DATABASE_DEADLINE_MS: "500" })
})
afterAll(() => rig?.stop())

describe("a database that does not answer in time", () => {
  it("answers 503 with the promise that nothing was stored when it never got the batch", async () => {
    rig.endpoint.faults.failures = Array.from({ length: 100 }, () => ({
      status: 500,
      message: "Couldn't connect to compute node",
    }))
    const { status, headers, body, conversation } = await sendBatch(rig)
    rig.endpoint.faults.failures = []
    expect([status, headers.get("Retry-After")]).toEqual([503, "2"])
    expect(body).toEqual({
      detail: "The database cannot be reached right now. Nothing was stored.",
      code: "database_unavailable",
    })
    expect((await misstored(rig, [conversation])).lostOrDoubled).toEqual([conversation])
  })

  it("answers 503 with the transaction id when it may have got the batch", async () => {
    rig.endpoint.faults.loseAnswers = 100
    const { status, body, conversation } = await sendBatch(rig)
    rig.endpoint.faults.loseAnswers = 0
    expect(status).toBe(503)
    expect(body.detail).toContain(`GET /api/batches/${body.transaction_id}`)
    const record = async () =>
      (await fetch(`${rig.service.address}/api/batches/${body.transaction_id}`)).json()
    await expect.poll(record).toMatchObject({ state: "stored", total_count: 20, failed_count: 0 })
    expect(await misstored(rig, [conversation])).toEqual({ lostOrDoubled: [], torn: [] })
  })

  it("is abandoned when it hangs, and its statement is cancelled", async () => {
    const { status, conversation } = await lockedTables(rig, ["signals"], () => sendBatch(rig))
    expect(status).toBe(503)
    await expect
      .poll(() =>
        rig.query(
          "select from pg_stat_activity where state = 'active' and query like '%insert into%' and pid <> pg_backend_pid()",
        ),
      )
      .toHaveLength(0)
    expect((await misstored(rig, [conversation])).torn).toEqual([])
  })

  it("makes the service not ready until it answers again", async () => {
    const ready = async () => (await fetch(`${rig.service.address}/readyz`)).status
    await rig.endpoint.faults.refuse()
    expect(await ready()).toBe(503)
    expect((await fetch(`${rig.service.address}/healthz`)).status).toBe(200)
    await rig.endpoint.faults.accept()
    await expect.poll(ready).toBe(200)
  })

  it("is logged by its kind, without the statement, its values or the address", async () => {
    rig.endpoint.faults.failures.push({
      status: 400,
      code: "42P01",
      message: 'relation "batches" does not exist',
    })
    await sendBatch(rig)
    await expect
      .poll(() => rig.service.log.some((line) => line.includes("database error (broken): 42P01")))
      .toBe(true)
    expect(rig.service.log.join("\n")).not.toMatch(/postgres(ql)?:|insert into|raw_content/)
  })
})

import { describe, expect, it } from "vitest"
import { readSettings } from "../../../src/config.ts"
import { knowActive, wake } from "../../../src/deliver/wake.ts"
import { bindings } from "../service.ts"

/** A queue that keeps what it is sent. */
function queue(options: { fails?: boolean } = {}) {
  const sent: unknown[] = []
  const send = async (body: unknown) => {
    sent.push(body)
    if (options.fails) throw new Error("Too Many Requests")
  }
  return { sent, deliveries: { send } as unknown as Queue }
}

const { database } = readSettings(bindings)

describe("the wake messages of an isolate", () => {
  it("are one at once, and one a pause later, for any number of writes", async () => {
    const { sent, deliveries } = queue()
    const works: Promise<unknown>[] = []
    const write = () => wake({ database, isConfigured: true, deliveries }, (work) => works.push(work))
    knowActive()
    for (let writes = 0; writes < 1000; writes++) write()
    expect(sent).toEqual(["wake"])
    // The writes after the first message are told, too: theirs waits for its turn.
    await Promise.all(works)
    expect(sent).toEqual(["wake", "wake"])
    for (let writes = 0; writes < 1000; writes++) write()
    await Promise.all(works)
    expect(sent).toEqual(["wake", "wake", "wake"])
    expect(works).toHaveLength(3)
  })

  it("are none where no subscription is possible, and then the database is asked nothing", async () => {
    const { sent, deliveries } = queue()
    const away = { ...database, httpEndpoint: "http://127.0.0.1:9/sql" }
    const works: Promise<unknown>[] = []
    wake({ database: away, isConfigured: false, deliveries }, (work) => works.push(work))
    wake({ database: away, isConfigured: true, deliveries: undefined }, (work) => works.push(work))
    expect([sent, works]).toEqual([[], []])
  })

  it("fail no write when the queue does not take them", async () => {
    const { sent, deliveries } = queue({ fails: true })
    const works: Promise<unknown>[] = []
    knowActive()
    wake({ database, isConfigured: true, deliveries }, (work) => works.push(work))
    await Promise.all(works)
    expect(sent).toEqual(["wake"])
  })
})

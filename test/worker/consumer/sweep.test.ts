import { describe, expect, it } from "vitest"
import { sweepBucket } from "../../../src/consumer/sweep.ts"
import { batchObject, deliveryObject } from "../../../src/queue/messages.ts"
import { bindings } from "../service.ts"

const HOUR = 60 * 60 * 1000
const bucket = bindings.BUCKET as R2Bucket

async function messagesAfter(ms: number): Promise<string[]> {
  const sent: string[] = []
  await sweepBucket({ send: async (text: string) => void sent.push(text) } as unknown as Queue, bucket, Date.now() + ms)
  return sent
}

describe("what waits in the bucket", () => {
  it("is sent again after an hour, in case its message was lost", async () => {
    const batch = batchObject(crypto.randomUUID())
    const delivery = deliveryObject(crypto.randomUUID())
    for (const object of [batch, delivery]) await bucket.put(object, "")
    const about = (messages: string[]) =>
      messages.filter((text) => text.includes(batch) || text.includes(delivery)).map((text) => JSON.parse(text))
    expect(about(await messagesAfter(0))).toEqual([])
    expect(about(await messagesAfter(HOUR + 1000))).toEqual([
      { version: 1, kind: "parked_batch", object: batch },
      { version: 1, kind: "parked_delivery", object: delivery },
    ])
    await bucket.delete([batch, delivery])
  })

  it("loses its idempotency keys after seven days, and nothing else", async () => {
    const key = `idempotency_keys/${crypto.randomUUID()}`
    await bucket.put(key, "{}")
    await messagesAfter(6 * 24 * HOUR)
    expect(await bucket.head(key)).not.toBeNull()
    await messagesAfter(7 * 24 * HOUR + 1000)
    expect(await bucket.head(key)).toBeNull()
  })
})

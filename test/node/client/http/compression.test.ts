import { createHash } from "node:crypto"
import { beforeEach, describe, expect, it } from "vitest"
import { deliverEach } from "../../../../src/client/deliver.ts"
import { acceptedFormats } from "../../../../src/client/http/compression.ts"
import { SignalClient } from "../../../../src/client/index.ts"
import { useEmptyTables, useProxy, useRig } from "../../../setup/hooks/rig.ts"
import { failureOf } from "../failure-of.ts"

const KEY = "the-client's-key"
const API_KEYS = JSON.stringify([
  { name: "client", sha256: createHash("sha256").update(KEY).digest("hex"), scopes: ["read", "ingest"] },
])

const rig = useRig({ OPEN_ACCESS: "false", API_KEYS, MAX_SIGNALS: "1000" })
const proxy = useProxy(rig)
useEmptyTables(rig)

const signal = (index: number) => ({ context_window_id: "conv-client", raw_content: String(index) })
const signals = (count: number) => Array.from({ length: count }, (_, index) => signal(index))
const rows = async () =>
  (await rig.query<{ count: number }>("select count(*)::int4 as count from signals"))[0]?.count

describe("the compression of the client", () => {
  const encodings = () => proxy.seen.map(({ headers }) => headers["content-encoding"])
  const accepting = (header?: string) => ({
    kind: "answer" as const,
    status: 415,
    body: '{"detail":"Content-Encoding gzip is not read here."}',
    ...(header !== undefined && { headers: { "Accept-Encoding": header } }),
  })
  let fresh: SignalClient
  beforeEach(() => {
    fresh = new SignalClient({ url: proxy.address, key: KEY })
  })

  it("does not compress small bodies", async () => {
    await fresh.createBatch(signals(1))
    await fresh.createBatch(signals(1))
    expect(encodings()).toEqual([undefined, undefined])
  })

  it("starts at 4 KB with gzip, and at 1 KB when the service has named the formats it accepts", async () => {
    const some = signals(50)
    expect(JSON.stringify(some).length).toBeGreaterThan(1024)
    expect(JSON.stringify(some).length).toBeLessThan(4096)
    await fresh.createBatch(some)
    await fresh.createBatch(some)
    await new SignalClient({ url: proxy.address, key: KEY }).createBatch(signals(500))
    expect(encodings()).toEqual([undefined, "gzip", "gzip"])
    expect(await rows()).toBe(600)
  })

  it.each([
    ["deflate", "deflate"],
    ["gzip;q=0, *", "deflate"],
    ["br", undefined],
    ["", undefined],
    [undefined, undefined],
  ])("sends a refused body again, once, where the refusal accepts %j", async (header, encoding) => {
    proxy.mishaps.push(accepting(header))
    const answer = await fresh.createBatch(signals(200))
    expect(answer.successful_count).toBe(200)
    expect(encodings()).toEqual(["gzip", encoding])
    expect(await rows()).toBe(200)
  })

  it("gives up when the refusal accepts the format that was sent", async () => {
    proxy.mishaps.push(accepting("gzip"))
    expect(await failureOf(fresh.createBatch(signals(200)))).toMatchObject({ status: 415 })
    expect(encodings()).toEqual(["gzip"])
  })

  it("can be turned off", async () => {
    const plain = new SignalClient({ url: proxy.address, key: KEY, compress: false })
    await plain.createBatch(signals(200))
    await plain.createBatch(signals(200))
    expect(encodings()).toEqual([undefined, undefined])
  })

  it("is not used where the runtime has no CompressionStream", async () => {
    const { CompressionStream: original } = globalThis
    try {
      Reflect.deleteProperty(globalThis, "CompressionStream")
      await new SignalClient({ url: proxy.address, key: KEY }).createBatch(signals(200))
    } finally {
      globalThis.CompressionStream = original
    }
    expect(encodings()).toEqual([undefined])
  })

  it("prefers zstd to gzip where the runtime has it", () =>
    expect(acceptedFormats("br, deflate, gzip;q=1.0, zstd;q=0.001, x")).toEqual(["zstd", "gzip", "deflate"]))

  it("is also used for batches of the importer and the processor", async () => {
    await deliverEach(fresh, signals(200), { idempotencyKey: "compressed" })
    expect(encodings()).toEqual(["gzip"])
  })
})

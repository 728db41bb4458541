import { brotliCompressSync, constants, deflateSync, gzipSync, zstdCompressSync } from "node:zlib"
import { cpuMs } from "./harness/cpu.ts"
import { openConnection } from "./harness/database.ts"
import { openAgent, post } from "./harness/http.ts"
import { describeMachine } from "./harness/machine.ts"
import { makeSignals } from "./harness/signals.ts"
import { startStack } from "./harness/stack.ts"
import { median } from "./harness/statistics.ts"

/**
 * `npx node bench/codecs.ts`: measures batches in each `Content-Encoding` with one caller. The Worker's CPU
 * is that of its whole process for each request. The codings take turns, so that a change of the machine's
 * speed affects all of them.
 */
const ROUNDS = 7
const SIZES = [
  { signals: 500, requests: 40 },
  { signals: 10_000, requests: 4 },
]

interface Codec {
  name: string
  encoding?: "gzip" | "deflate" | "br" | "zstd"
  encode: (body: Buffer) => Buffer
}

const brotli = (quality: number) => (body: Buffer) =>
  brotliCompressSync(body, { params: { [constants.BROTLI_PARAM_QUALITY]: quality } })

const CODECS: Codec[] = [
  { name: "none", encode: (body) => body },
  { name: "gzip", encoding: "gzip", encode: (body) => gzipSync(body) },
  { name: "deflate", encoding: "deflate", encode: (body) => deflateSync(body) },
  { name: "br, quality 4", encoding: "br", encode: brotli(4) },
  { name: "br, quality 11", encoding: "br", encode: brotli(11) },
  { name: "zstd, level 3", encoding: "zstd", encode: (body) => zstdCompressSync(body) },
]

// Encoded before the calls: Brotli's highest quality takes so long that the Worker would close the idle
// connections.
const tables = SIZES.map(({ signals, requests }) => {
  const body = Buffer.from(JSON.stringify({ signals: makeSignals(signals) }))
  const cells = CODECS.map((codec) => ({ codec, ...encodeTimed(codec, body), workerMs: [] as number[] }))
  return { signals, requests, cells }
})

/** The CPU of encoding a body, in milliseconds: the minimum of a few runs, since the first is slower. */
function encodeTimed({ encode }: Codec, body: Buffer): { encoded: Buffer; senderMs: number } {
  let [encoded, senderMs] = [body, Number.POSITIVE_INFINITY]
  for (let time = 0; time < 3; time++) {
    const startedAt = process.cpuUsage()
    encoded = encode(body)
    const { user, system } = process.cpuUsage(startedAt)
    senderMs = Math.min(senderMs, (user + system) / 1000)
  }
  return { encoded, senderMs }
}

const stack = await startStack()
const { client: admin } = await openConnection(stack.postgres.url)
const agent = openAgent(1)
try {
  console.log(`${await describeMachine(admin)}\n${ROUNDS} rounds, medians\n`)
  console.log("| signals | coding | bytes | of none | sender's CPU, ms | Worker's CPU, ms | of none |")
  console.log("|---|---|---|---|---|---|---|")
  for (const { signals, requests, cells } of tables) {
    for (let round = -1; round < ROUNDS; round++) {
      for (const { codec, encoded, workerMs } of cells) {
        const before = cpuMs(stack.worker.pid)
        const headers = codec.encoding ? { "Content-Encoding": codec.encoding } : {}
        for (let sent = 0; sent < requests; sent++)
          await post(agent, `${stack.worker.address}/api/signals/batch`, encoded, 200, headers)
        // The first round is the warm-up.
        if (round >= 0) workerMs.push((cpuMs(stack.worker.pid) - before) / requests)
      }
      await admin.query("truncate signals, batches")
    }
    const [plain] = cells
    const [plainMs, plainBytes] = [median(plain?.workerMs ?? []), plain?.encoded.length ?? 0]
    for (const { codec, encoded, senderMs, workerMs } of cells) {
      const ms = median(workerMs)
      const figures = [
        (encoded.length / plainBytes).toFixed(2),
        senderMs.toFixed(1),
        ms.toFixed(1),
        (ms / plainMs).toFixed(2),
      ]
      console.log(`| ${[signals, codec.name, encoded.length, ...figures].join(" | ")} |`)
    }
  }
} finally {
  agent.destroy()
  await admin.end()
  await stack.stop()
}

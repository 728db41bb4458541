import { once } from "node:events"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { cpuMs } from "../harness/cpu.ts"
import { openConnection } from "../harness/database.ts"
import { drive } from "../harness/drive.ts"
import { describeMachine } from "../harness/machine.ts"
import { printTable } from "../harness/print.ts"
import { batchRoute } from "../harness/routes.ts"
import { type Stack, startStack } from "../harness/stack.ts"
import { median } from "../harness/statistics.ts"

/**
 * `npx node bench/load/isolate.ts`: measures the first batches of 500 signals of a young isolate beside its
 * later ones, and the Worker's CPU for a batch, with Postgres and with an endpoint that answers at once.
 */
const SIGNALS = 500
const ROUNDS = 7
const YOUNG_BATCHES = 20
const WARM_UP_BATCHES = 300
const LATER_BATCHES = 100
const CALLERS = 8
const CPU_MS = 4000

const stack = await startStack()
try {
  const sink = await startSink(stack)
  try {
    const { client } = await openConnection(stack.postgres.url)
    console.log(`${await describeMachine(client)}\n`)
    await client.end()
    print(await measure(sink.url))
  } finally {
    await sink.stop()
  }
} finally {
  await stack.stop()
}

type Round = Record<"database" | "sink", Figures>

async function measure(sinkUrl: string): Promise<Round[]> {
  const rounds: Round[] = []
  for (let round = 0; round < ROUNDS; round++)
    rounds.push({ database: await one(stack.endpoint.url), sink: await one(sinkUrl) })
  return rounds
}

function print(rounds: readonly Round[]): void {
  const line = (name: string, of: (figures: Figures) => number) => [
    name,
    ...(["database", "sink"] as const).map((kind) =>
      median(rounds.map((round) => of(round[kind]))).toFixed(2),
    ),
  ]
  printTable(
    [`batches of ${SIGNALS}, medians of ${ROUNDS} isolates`, "Postgres", "an endpoint that answers at once"],
    [
      line("first batch, ms", ({ firstMs }) => firstMs),
      line(`first ${YOUNG_BATCHES}, median ms`, ({ youngMs }) => youngMs),
      line("later ones, median ms", ({ laterMs }) => laterMs),
      line("  times as long at first", ({ youngMs, laterMs }) => youngMs / laterMs),
      line(`CPU of the first ${YOUNG_BATCHES}, ms a batch`, ({ youngCpuMs }) => youngCpuMs),
      line("CPU later, 1 caller, ms a batch", ({ laterCpuMs }) => laterCpuMs),
      line(`CPU later, ${CALLERS} callers, ms a batch`, ({ busyCpuMs }) => busyCpuMs),
    ],
  )
}

interface Figures {
  firstMs: number
  youngMs: number
  laterMs: number
  youngCpuMs: number
  laterCpuMs: number
  busyCpuMs: number
}

/** Measures a new isolate. */
async function one(endpointUrl: string): Promise<Figures> {
  const worker = await stack.startWorker(endpointUrl)
  const route = batchRoute(worker.address, SIGNALS, CALLERS)
  const batches = async (count: number) => {
    const before = cpuMs(worker.pid)
    const latencies: number[] = []
    for (let number = 0; number < count; number++) {
      const sentAt = performance.now()
      await route.send(0)
      latencies.push(performance.now() - sentAt)
    }
    return { latencies, cpuMs: (cpuMs(worker.pid) - before) / count }
  }
  try {
    const young = await batches(YOUNG_BATCHES)
    await batches(WARM_UP_BATCHES)
    const later = await batches(LATER_BATCHES)
    const busy = await drive(CALLERS, CPU_MS, route.send, () => ({ worker: [worker.pid] }))
    return {
      firstMs: young.latencies[0] ?? Number.NaN,
      youngMs: median(young.latencies),
      laterMs: median(later.latencies),
      youngCpuMs: young.cpuMs,
      laterCpuMs: later.cpuMs,
      busyCpuMs: (busy.cpu.worker ?? Number.NaN) / busy.batches,
    }
  } finally {
    await route.close()
    await worker.stop()
  }
}

/** An endpoint that repeats the real endpoint's answer to a batch of 500 signals. It stores nothing. */
async function startSink({ endpoint, startWorker }: Stack): Promise<{ url: string; stop(): Promise<void> }> {
  let recorded: { type: string; body: Buffer } | undefined
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    if (!recorded) {
      const headers = new Headers()
      for (const [name, value] of Object.entries(request.headers))
        if (name.startsWith("neon-") || name === "content-type") headers.set(name, String(value))
      const answer = await fetch(endpoint.url, { method: "POST", headers, body: Buffer.concat(chunks) })
      recorded = {
        type: answer.headers.get("Content-Type") ?? "",
        body: Buffer.from(await answer.arrayBuffer()),
      }
    }
    response
      .writeHead(200, { "Content-Type": recorded.type, "Content-Length": recorded.body.length })
      .end(recorded.body)
  })
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/sql`
  const worker = await startWorker(url)
  const route = batchRoute(worker.address, SIGNALS, 1)
  await route.send(0)
  await route.close()
  await worker.stop()
  return {
    url,
    async stop() {
      server.closeAllConnections()
      server.close()
    },
  }
}

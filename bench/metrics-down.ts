import { freePort } from "../src/local/ports.ts"
import { startSink } from "../test/setup/sink.ts"
import { openAgent, post } from "./harness/http.ts"
import { printTable } from "./harness/print.ts"
import { makeSignals } from "./harness/signals.ts"
import { startStack } from "./harness/stack.ts"
import { median, quantile } from "./harness/statistics.ts"

/**
 * `npx node bench/metrics-down.ts`: measures the latency of a batch while the metrics store answers, refuses
 * connections, and does not answer. The deployed bundle runs on bare workerd, whose Analytics Engine binding
 * posts each point to the store; 1,000 batches of 100 signals for each state, in turns of 50.
 */
const ROUNDS = 20
const BATCHES_A_ROUND = 50

const stack = await startStack()
const up = await startSink({ answers: true })
const silent = await startSink({ answers: false })
const agent = openAgent(1)
const stores = {
  up: up.address,
  "refusing connections": `127.0.0.1:${await freePort()}`,
  "never answering": silent.address,
}
const workers = await Promise.all(
  Object.entries(stores).map(async ([store, metricsSink]) => ({
    store,
    worker: await stack.startWorker(stack.endpoint.url, { metricsSink }),
    latencies: [] as number[],
  })),
)
try {
  const body = Buffer.from(JSON.stringify({ signals: makeSignals(100) }))
  const send = (address: string) => post(agent, `${address}/api/signals/batch`, body, 200)
  for (const { worker } of workers)
    for (let warmUp = 0; warmUp < BATCHES_A_ROUND; warmUp++) await send(worker.address)
  for (let round = 0; round < ROUNDS; round++) {
    for (const { worker, latencies } of workers) {
      for (let batch = 0; batch < BATCHES_A_ROUND; batch++) {
        const sentAt = performance.now()
        // Throws unless the status is 200.
        await send(worker.address)
        latencies.push(performance.now() - sentAt)
      }
    }
  }
  const base = median(workers[0]?.latencies ?? [])
  printTable(
    ["metrics store", "batches", "answered 200", "p50 ms", "p99 ms", "p50 to up"],
    workers.map(({ store, latencies }) => {
      const p50 = median(latencies)
      const count = String(latencies.length)
      return [
        store,
        count,
        count,
        p50.toFixed(2),
        quantile(latencies, 0.99).toFixed(2),
        (p50 / base).toFixed(3),
      ]
    }),
  )
} finally {
  agent.destroy()
  for (const { worker } of workers) await worker.stop()
  await up.stop()
  await silent.stop()
  await stack.stop()
}

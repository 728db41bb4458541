import type { Agent } from "node:http"
import type pg from "pg"
import { childrenOf, cpuMs } from "../harness/cpu.ts"
import { openAgent, post } from "../harness/http.ts"
import type { Stack } from "../harness/stack.ts"
import { quantile } from "../harness/statistics.ts"
import { get, makeScaleBatch, type Read, readsOf, statsOfADay } from "./requests.ts"

const SIGNALS = 500
const WARM_UP = 10

interface Latency {
  p50Ms: number
  p99Ms: number
}

/** The costs of a table of one size. */
export interface Scale {
  /** The rows before the inserts. */
  rows: number
  /** One caller with batches of 500 signals: latency, the database's share of it, and WAL. */
  insert: Latency & { postgresCpuMs: number; walBytesPerSignal: number }
  /** The same with 8 callers. */
  signalsPerSecond: number
  /** Bytes on disk for each signal, by kind; undefined without rows. */
  bytesPerSignal: { heap: number; indexes: number; keys: number } | undefined
  /** `status`: 422 where the read would be too costly. */
  reads: (Latency & { name: string; status: number })[]
}

export interface ScaleContext {
  stack: Stack
  client: pg.Client
  rows: number
  pace: { inserts: number; reads: number }
  stopped: AbortSignal
}

export async function measure(context: ScaleContext): Promise<Scale> {
  const { rows, client } = context
  const bytesPerSignal = rows > 0 ? await bytesOf(client, rows) : undefined
  const agent = openAgent(8)
  try {
    // The inserts add some 100,000 signals to the last day, which at 20 million a year has half as many.
    const filledDay = await measureRead(context, agent, {
      ...statsOfADay,
      name: `${statsOfADay.name}, before the inserts`,
    })
    const insert = await measureInserts(context, agent)
    const signalsPerSecond = await measureThroughput(context, agent)
    const { rows: bounds } = await client.query<{ first: string; last: string }>(
      "select min(id) as first, max(id) as last from signals",
    )
    const [first, last] = [Number(bounds[0]?.first), Number(bounds[0]?.last)]
    const reads = [filledDay]
    for (const read of readsOf(() => Math.floor(first + Math.random() * (last - first))))
      reads.push(await measureRead(context, agent, read))
    return { rows, insert, signalsPerSecond, bytesPerSignal, reads }
  } finally {
    agent.destroy()
  }
}

const send = ({ stack }: ScaleContext, agent: Agent) =>
  post(
    agent,
    `${stack.worker.address}/api/signals/batch`,
    Buffer.from(JSON.stringify({ signals: makeScaleBatch(SIGNALS) })),
    200,
  )

async function measureInserts(context: ScaleContext, agent: Agent): Promise<Scale["insert"]> {
  const { stack, client, pace, stopped } = context
  for (let i = 0; i < WARM_UP; i++) await send(context, agent)
  const { rows: before } = await client.query<{ lsn: string }>("select pg_current_wal_insert_lsn() as lsn")
  const used = () =>
    [stack.postgres.pid, ...childrenOf(stack.postgres.pid)].reduce((sum, pid) => sum + (cpuMs(pid) || 0), 0)
  const usedBefore = used()
  const latencies: number[] = []
  for (let i = 0; i < pace.inserts; i++) {
    stopped.throwIfAborted()
    const body = Buffer.from(JSON.stringify({ signals: makeScaleBatch(SIGNALS) }))
    const sentAt = performance.now()
    await post(agent, `${stack.worker.address}/api/signals/batch`, body, 200)
    latencies.push(performance.now() - sentAt)
  }
  const postgresCpuMs = (used() - usedBefore) / pace.inserts
  const { rows: after } = await client.query<{ bytes: string }>(
    "select pg_current_wal_insert_lsn() - $1::pg_lsn as bytes",
    [before[0]?.lsn],
  )
  return {
    ...latencyOf(latencies),
    postgresCpuMs,
    walBytesPerSignal: Number(after[0]?.bytes) / (pace.inserts * SIGNALS),
  }
}

async function measureThroughput(context: ScaleContext, agent: Agent): Promise<number> {
  let left = context.pace.inserts
  const startedAt = performance.now()
  const caller = async () => {
    while (left-- > 0) await send(context, agent)
  }
  await Promise.all(Array.from({ length: 8 }, caller))
  return (context.pace.inserts * SIGNALS * 1000) / (performance.now() - startedAt)
}

async function measureRead({ stack, pace, stopped }: ScaleContext, agent: Agent, { name, path }: Read) {
  const latencies: number[] = []
  let status = 0
  for (let i = 0; i < pace.reads; i++) {
    stopped.throwIfAborted()
    const sentAt = performance.now()
    status = await get(agent, stack.worker.address + path())
    latencies.push(performance.now() - sentAt)
    // A read of several seconds is measured fewer than a hundred times.
    if (performance.now() - sentAt > 500 && i >= 4) break
  }
  return { name, status, ...latencyOf(latencies) }
}

const latencyOf = (latencies: readonly number[]): Latency => ({
  p50Ms: quantile(latencies, 0.5),
  p99Ms: quantile(latencies, 0.99),
})

async function bytesOf(client: pg.Client, rows: number): Promise<Scale["bytesPerSignal"]> {
  const { rows: found } = await client.query<{ heap: string; indexes: string; keys: string }>(
    `select sum(pg_table_size(relid)) as heap, sum(pg_indexes_size(relid)) as indexes, pg_total_relation_size('dedupe_keys') as keys
     from pg_partition_tree('signals') where isleaf`,
  )
  const [sizes] = found
  return {
    heap: Number(sizes?.heap) / rows,
    indexes: Number(sizes?.indexes) / rows,
    keys: Number(sizes?.keys) / rows,
  }
}

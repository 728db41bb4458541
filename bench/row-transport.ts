import type { SignalRow } from "../src/signals/schema.ts"
import { cpuMs } from "./harness/cpu.ts"
import { openConnection, startDatabase } from "./harness/database.ts"
import { makeRows, makeSignals, SEED } from "./harness/signals.ts"
import { median } from "./harness/statistics.ts"
import { storeStatement } from "./transport/statement.ts"
import { WAYS, type Way } from "./transport/ways.ts"

/** Rounds for each size: enough for a stable median, and few enough for half a minute in total. */
const SIZES = [
  [1, 180],
  [50, 90],
  [500, 45],
  [5000, 8],
] as const

interface Sample {
  encodeMs: number
  /** Milliseconds until the answer, including the flush of the commit. */
  postgresMs: number
  postgresCpuMs: number
  bytes: number
}

const database = await startDatabase()
const { client, pid: backend } = await openConnection(database.url)
try {
  console.log(`Ways to carry rows to Postgres, one connection, seed ${SEED}; medians, ms.`)
  for (const [size, rounds] of SIZES) await compare(size, rounds)
} finally {
  await client.end()
  await database.stop()
}

/**
 * Runs every way once in each round, so that noise of the machine affects all of them. Each round starts with
 * another way, since the first one writes into an empty table.
 */
async function compare(size: number, rounds: number): Promise<void> {
  const rows = makeRows(makeSignals(size))
  const ways = WAYS.filter((way) => size <= (way.maxRows ?? size))
  const samples = new Map<string, Sample[]>(ways.map(({ name }) => [name, []]))
  for (let round = -2; round < rounds; round++) {
    const first = (round + ways.length) % ways.length
    for (const way of [...ways.slice(first), ...ways.slice(0, first)]) {
      const sample = await measure(way, rows)
      if (round >= 0) samples.get(way.name)?.push(sample)
    }
    await client.query("truncate signals, batches")
  }
  console.table(
    Object.fromEntries(
      [...samples].map(([name, taken]) => {
        const encode = median(taken.map(({ encodeMs }) => encodeMs))
        const postgres = median(taken.map(({ postgresMs }) => postgresMs))
        const cpu = median(taken.map(({ postgresCpuMs }) => postgresCpuMs))
        const KB = ms((taken[0]?.bytes ?? 0) / 1000)
        return [
          name,
          {
            rows: size,
            encode: ms(encode),
            KB,
            postgres: ms(postgres),
            "postgres CPU": ms(cpu),
            "all CPU": ms(encode + cpu),
          },
        ]
      }),
    ),
  )
}

/**
 * Encoding includes the JSON of the request body, as in Neon's driver; the statement itself goes directly to
 * Postgres.
 */
async function measure(way: Way, rows: readonly SignalRow[]): Promise<Sample> {
  const startedAt = performance.now()
  const text = storeStatement(way.source(rows))
  const params = way.params(rows)
  const body = JSON.stringify({ query: text, params })
  const encodedAt = performance.now()
  const cpuBefore = cpuMs(backend)
  const { rows: answer } = await client.query<{ ids: string }>({ text, values: params })
  const postgresMs = performance.now() - encodedAt
  if (answer[0]?.ids.split(",").length !== rows.length) throw new Error(`${way.name} did not store all rows`)
  return {
    encodeMs: encodedAt - startedAt,
    postgresMs,
    postgresCpuMs: cpuMs(backend) - cpuBefore,
    bytes: Buffer.byteLength(body),
  }
}

function ms(value: number): number {
  return Number(value.toPrecision(3))
}

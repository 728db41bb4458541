import type pg from "pg"
import { cpuMs } from "./harness/cpu.ts"
import { openConnection, startDatabase } from "./harness/database.ts"
import { makeRows, makeSignals, SEED } from "./harness/signals.ts"
import { quantile } from "./harness/statistics.ts"
import { STATEMENT, STORE, VARIANTS, type Variant } from "./transport/variants.ts"

/** `npx node bench/write-costs.ts`: what each index, check and turn of the store's statement costs Postgres. */
const SIZES = [
  { size: 1, rounds: 120 },
  { size: 500, rounds: 48 },
]
const WARM_UP_ROUNDS = 5

interface Candidate extends Variant {
  client: pg.Client
  pid: number
}

const database = await startDatabase()
const candidates: Candidate[] = []
try {
  for (const [number, variant] of VARIANTS.entries()) candidates.push(await prepare(variant, `variant_${number}`))
  console.log(`CPU of one Postgres connection a statement, ms, lower quartile; seed ${SEED}`)
  for (const { size, rounds } of SIZES) await compare(size, rounds)
} finally {
  for (const { client } of candidates) await client.end()
  await database.stop()
}

/** Gives a variant a copy of the migrated database, and changes it there. */
async function prepare(variant: Variant, name: string): Promise<Candidate> {
  const admin = await openConnection(database.url.replace(/\/postgres$/, "/template1"))
  await admin.client.query(`create database ${name} template postgres`)
  await admin.client.end()
  const connection = await openConnection(database.url.replace(/\/postgres$/, `/${name}`))
  if (variant.ddl) await connection.client.query(variant.ddl)
  return { ...variant, ...connection }
}

/**
 * Every variant once a round, each round from another one on, so that no variant has the better moments of the machine. The lower
 * quartile is told: what disturbs a measurement only ever adds to it.
 */
async function compare(size: number, rounds: number): Promise<void> {
  const params = STORE.params(makeRows(makeSignals(size)))
  const samples = candidates.map((): number[] => [])
  for (let round = -WARM_UP_ROUNDS; round < rounds; round++) {
    for (let turn = 0; turn < candidates.length; turn++) {
      const number = (turn + round + WARM_UP_ROUNDS) % candidates.length
      const candidate = candidates[number] as Candidate
      const usedBefore = cpuMs(candidate.pid)
      await candidate.client.query({
        text: candidate.text ?? STATEMENT,
        values: candidate.params?.(params) ?? params,
        ...(candidate.prepared && { name: "store" }),
      })
      if (round >= 0) samples[number]?.push(cpuMs(candidate.pid) - usedBefore)
    }
  }
  const usual = samples.map((of) => quantile(of, 0.25))
  const lines = candidates.map(({ name }, number) => {
    const used = usual[number] ?? Number.NaN
    return [name, { rows: size, ms: rounded(used), difference: rounded(used - (usual[0] ?? 0)) }]
  })
  console.table(Object.fromEntries(lines))
}

function rounded(ms: number): number {
  return Number(ms.toFixed(2))
}

import { parseArgs } from "node:util"
import { seededRandom } from "../../setup/random.ts"
import { buildBundle } from "../../setup/workerd.ts"
import { stress } from "./stress.ts"

/**
 * `npm run stress -- --seed S --minutes M`: every way in under faults, compared with a model of the contract.
 */
const { values: given } = parseArgs({
  options: {
    seed: { type: "string" },
    minutes: { type: "string", default: "1" },
    runs: { type: "string", default: "1" },
  },
})
const [firstSeed, minutes, runs] = [
  given.seed === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(given.seed),
  Number(given.minutes),
  Number(given.runs),
]
if (!Number.isInteger(firstSeed) || !(minutes > 0) || !(Number.isInteger(runs) && runs > 0)) {
  console.error(
    "--seed must be a whole number, --minutes a number above 0, and --runs a whole number from 1.",
  )
  process.exit(2)
}

const bundle = await buildBundle()
let [requests, found] = [0, 0]
try {
  for (let seed = firstSeed; seed < firstSeed + runs; seed++) {
    const report = await stress(bundle, { seed, minutes, random: seededRandom(seed) })
    requests += report.requests
    found += report.differences.length
    console.log(
      `seed ${seed}: ${report.requests} requests, ${report.rows} signals stored, ${report.fed} in the feed`,
    )
    console.log(`  ${report.statuses.map(([name, count]) => `${name}: ${count}`).join(", ")}`)
    console.log(`  faults: ${[...report.faults].map(([name, count]) => `${name} ${count}`).join(", ")}`)
    for (const difference of report.differences.slice(0, 20)) console.log(`  DIFFERENCE ${difference}`)
    console.log(`  ${report.differences.length} differences; history: ${report.history}\n`)
  }
} finally {
  await bundle.remove()
}
console.log(`${requests} requests, ${found} differences`)
process.exit(found > 0 ? 1 : 0)

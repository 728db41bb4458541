import { mkdir, readFile, writeFile } from "node:fs/promises"
import { dirname } from "node:path"
import { parseArgs } from "node:util"
import { gzipSync } from "node:zlib"
import { CELLS, measureCells, type Pace } from "./cells.ts"
import { openConnection } from "./database.ts"
import { compareWithExpected } from "./expectations.ts"
import { describeMachine } from "./machine.ts"
import { measureMemory } from "./memory.ts"
import { printExpectations, printResults } from "./print.ts"
import { resultsOf } from "./results.ts"
import { SEED } from "./signals.ts"
import { startStack } from "./stack.ts"

/** `npm run bench`: the built Worker on bare workerd, measured against the single-signal route, against `pg`, and against COPY. */
const { values: options } = parseArgs({
  options: { quick: { type: "boolean", default: false }, json: { type: "string", default: "dist/bench.json" } },
})
const PACES: Record<"quick" | "full", Pace> = {
  quick: { rounds: 1, warmUpMs: 150, cellMs: 700 },
  full: { rounds: 3, warmUpMs: 300, cellMs: 1400 },
}
const pace = PACES[options.quick ? "quick" : "full"]

const stack = await startStack()
const { client: admin } = await openConnection(stack.postgres.url)
const stop = async () => {
  await admin.end()
  await stack.stop()
}
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => stop().finally(() => process.exit(130)))

try {
  const machine = await describeMachine(admin)
  const total = CELLS.length * pace.rounds
  console.log(`${machine}\nseed ${SEED}, ${pace.rounds} round(s) of ${CELLS.length} cells, ${pace.cellMs} ms each\n`)

  const script = await readFile(stack.bundle.path)
  const bundle = { bytes: script.length, gzipBytes: gzipSync(script).length }
  const memory = await measureMemory(stack)
  let done = 0
  const measured = await measureCells(stack, admin, pace, () => {
    if (process.stderr.isTTY) process.stderr.write(`\r${++done} of ${total} `)
  })
  const results = resultsOf(measured)
  const expectations = compareWithExpected({ results, memory, bundle })

  printResults(results)
  console.log(`\nbundle: ${bundle.bytes} bytes, ${bundle.gzipBytes} gzipped`)
  console.log(
    `workerd's peak memory: ${memory.afterStartMiB.toFixed(0)} MiB started, ${memory.afterLargestMiB.toFixed(0)} MiB after 10,000-signal batches\n`,
  )
  printExpectations(expectations)

  await mkdir(dirname(options.json), { recursive: true })
  await writeFile(options.json, JSON.stringify({ machine, seed: SEED, pace, bundle, memory, results, expectations }, null, 2))
  console.log(`\nas JSON: ${options.json}`)
} finally {
  await stop()
}

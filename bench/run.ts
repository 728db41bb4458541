import { mkdir, readFile, writeFile } from "node:fs/promises"
import { dirname } from "node:path"
import { parseArgs } from "node:util"
import { gzipSync } from "node:zlib"
import { CELLS, measureCells } from "./cells.ts"
import { compareWithExpected } from "./expectations.ts"
import { openConnection } from "./harness/database.ts"
import { describeMachine } from "./harness/machine.ts"
import { printExpectations, printResults } from "./harness/print.ts"
import type { Pace } from "./harness/rounds.ts"
import { SEED } from "./harness/signals.ts"
import { type Stack, startStack } from "./harness/stack.ts"
import { smallestHeapMiB } from "./memory.ts"
import { resultsOf } from "./results.ts"

/**
 * `npm run bench`: measures the built Worker on bare workerd against the single-signal route, `pg` and COPY.
 */
const { values: options } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    json: { type: "string", default: "dist/bench.json" },
  },
})
const PACES: Record<"quick" | "full", Pace> = {
  quick: { rounds: 1, warmUpMs: 100, cellMs: 450 },
  full: { rounds: 5, warmUpMs: 100, cellMs: 600 },
}
const pace = PACES[options.quick ? "quick" : "full"]

const stop = new AbortController()
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => stop.abort())

try {
  const stack = await startStack()
  await measure(stack, stop.signal).finally(stack.stop)
} catch (error) {
  if (!stop.signal.aborted) throw error
}
if (stop.signal.aborted) process.exit(130)

async function measure(stack: Stack, stopped: AbortSignal): Promise<void> {
  const { client: admin } = await openConnection(stack.postgres.url)
  const machine = await describeMachine(admin)
  const total = CELLS.length * pace.rounds
  console.log(
    `${machine}\nseed ${SEED}, ${pace.rounds} round(s) of ${CELLS.length} cells, ${pace.cellMs} ms each\n`,
  )

  const script = await readFile(stack.bundle.path)
  const bundle = { bytes: script.length, gzipBytes: gzipSync(script).length }
  const heapMiB = await smallestHeapMiB(stack, stopped)
  let done = 0
  const onCell = () => {
    if (process.stderr.isTTY) process.stderr.write(`\r${++done} of ${total} `)
  }
  const measured = await measureCells({ stack, admin, pace, stopped, onCell })
  const results = resultsOf(measured)
  const expectations = compareWithExpected({ results, heapMiB, bundle })

  printResults(results)
  console.log(`\nbundle: ${bundle.bytes} bytes, ${bundle.gzipBytes} gzipped`)
  console.log(`smallest heap for 10,000 signals in one batch, of the sizes tried: ${heapMiB} MiB\n`)
  printExpectations(expectations)

  await mkdir(dirname(options.json), { recursive: true })
  await writeFile(
    options.json,
    JSON.stringify({ machine, seed: SEED, pace, bundle, heapMiB, results, expectations }, null, 2),
  )
  console.log(`\nas JSON: ${options.json}`)
  await admin.end()
}

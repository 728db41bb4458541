import { mkdir, writeFile } from "node:fs/promises"
import { dirname } from "node:path"
import { parseArgs } from "node:util"
import type pg from "pg"
import { openConnection } from "../harness/database.ts"
import { describeMachine } from "../harness/machine.ts"
import { startStack } from "../harness/stack.ts"
import { measureErasures, printErasures } from "./erasures.ts"
import { fill } from "./fill.ts"
import { measure, type Scale } from "./measure.ts"
import { planningTimes } from "./planning.ts"
import { printPlanning, printScales } from "./print.ts"

/** `npm run bench:scale`: measures inserts and reads in tables of growing size. */
const { values: options } = parseArgs({
  options: {
    /** Millions of signals, separated by commas. */
    rows: { type: "string", default: "0,1,10,20" },
    inserts: { type: "string", default: "100" },
    reads: { type: "string", default: "100" },
    partitions: { type: "string", default: "120" },
    /** Postgres then writes a page as a whole into the WAL at its first change after a checkpoint. */
    "page-images": { type: "boolean", default: false },
    json: { type: "string", default: "dist/bench-scale.json" },
  },
})
const sizes = options.rows.split(",").map((millions) => Math.round(Number(millions) * 1e6))

const stop = new AbortController()
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => stop.abort())

try {
  const stack = await startStack()
  try {
    const { client } = await openConnection(stack.postgres.url)
    const machine = await describeMachine(client)
    console.log(`${machine}, full_page_writes ${options["page-images"] ? "on" : "off, as at Neon"}\n`)
    if (!options["page-images"]) await turnPageImagesOff(client)
    const scales: Scale[] = []
    for (const rows of sizes) {
      const startedAt = performance.now()
      await fill(client, rows, stop.signal)
      console.log(`${rows} signals filled in ${Math.round((performance.now() - startedAt) / 1000)} s`)
      const pace = { inserts: Number(options.inserts), reads: Number(options.reads) }
      scales.push(await measure({ stack, client, rows, pace, stopped: stop.signal }))
    }
    printScales(scales)
    const erasures = await measureErasures(stack, client, stop.signal)
    printErasures(erasures)
    const planning = await planningTimes(client, Number(options.partitions))
    printPlanning(planning)
    await mkdir(dirname(options.json), { recursive: true })
    await writeFile(options.json, JSON.stringify({ machine, scales, erasures, planning }, null, 2))
    console.log(`\nas JSON: ${options.json}`)
    await client.end()
  } finally {
    await stack.stop()
  }
} catch (error) {
  if (!stop.signal.aborted) throw error
}
if (stop.signal.aborted) process.exit(130)

/** @see https://neon.com/blog/turning-off-fpw-for-faster-writes */
async function turnPageImagesOff(client: pg.Client): Promise<void> {
  await client.query("alter system set full_page_writes = off")
  await client.query("select pg_reload_conf()")
}

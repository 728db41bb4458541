import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { seededRandom } from "../../setup/random.ts"
import { buildBundle } from "../../setup/workerd.ts"
import { importUnderKills } from "./kills.ts"
import { sendUnderKills } from "./spool.ts"
import { startStand } from "./stand.ts"

/**
 * `npm run kills -- --seed S --messages N --kills K`: imports messages while importer, Worker and Postgres
 * are killed, and compares the table with the messages in SQL. With `--spool`, a program sends them by the
 * library with a spool. A million messages take about twenty minutes.
 */
const { values: given } = parseArgs({
  options: {
    seed: { type: "string" },
    messages: { type: "string", default: "1000000" },
    kills: { type: "string", default: "10" },
    spool: { type: "boolean", default: false },
  },
})
const [seed, messages, kills] = [
  given.seed === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(given.seed),
  Number(given.messages),
  Number(given.kills),
]
if (!Number.isInteger(seed) || !(messages >= 1000) || !Number.isInteger(messages) || !(kills >= 0)) {
  console.error("--seed and --messages must be whole numbers, --messages at least 1000; --kills from 0.")
  process.exit(2)
}

const bundle = await buildBundle()
const folder = await mkdtemp(join(tmpdir(), "signal-ingest-kills-"))
const stand = await startStand(bundle)
try {
  const options = { folder, messages, kills, random: seededRandom(seed) }
  const send = given.spool ? sendUnderKills : importUnderKills
  const { killed, seconds, peakMemory, differences } = await send(stand, options)
  const counts = Object.entries(killed).map(([name, count]) => `${name} ${count}`)
  console.log(
    `seed ${seed}: ${messages} messages in ${Math.round(seconds)} s (${Math.round(messages / seconds)}/s), at most ${Math.round(peakMemory)} MiB, killed: ${counts.join(", ")}, ${differences} differences`,
  )
  process.exitCode = differences > 0 ? 1 : 0
} finally {
  await stand.stop()
  await bundle.remove()
  await rm(folder, { recursive: true, force: true })
}

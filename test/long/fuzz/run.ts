import { parseArgs } from "node:util"
import { buildBundle } from "../../setup/workerd.ts"
import { fuzz, type Report, strangeLines } from "./fuzz.ts"
import { startStand } from "./stand.ts"

/** `npm run fuzz -- --count N --seed S`: hostile inputs for every parser; see CONTRIBUTING.md. */
const { values: given } = parseArgs({
  options: {
    count: { type: "string", default: "10000" },
    seed: { type: "string" },
    only: { type: "string" },
    path: { type: "string" },
  },
})
const options = {
  count: Number(given.count),
  seed: given.seed === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(given.seed),
  only: given.only,
  path: given.path,
}
if (!Number.isSafeInteger(options.count) || options.count < 1 || !Number.isInteger(options.seed)) {
  console.error("--count must be a whole number from 1, and --seed a whole number.")
  process.exit(2)
}

const printed = ({ name, inputs, seconds, slowestMs, failure }: Report) => {
  const figures = [String(inputs), (inputs / seconds).toFixed(0), slowestMs.toFixed(0)]
    .map((text) => text.padStart(10))
    .join("")
  console.log(`${name.padEnd(16)}${figures}${failure ? "  failed" : ""}`)
  if (failure) console.log(`\n${failure.error}\n\ninput: ${failure.input}\n\nrepeat it: ${failure.command}\n`)
}

const bundle = await buildBundle()
let strange: string[] = []
let reports: Report[] = []
try {
  const stand = await startStand(bundle)
  try {
    console.log(`seed ${options.seed}, about ${options.count} inputs\n`)
    console.log(
      `${"suite".padEnd(16)}${["inputs", "a second", "worst ms"].map((text) => text.padStart(10)).join("")}`,
    )
    process.on("unhandledRejection", (error) => strange.push(`unhandled rejection: ${error}`))
    reports = await fuzz(stand, options, printed)
    strange = [...strange, ...strangeLines(stand.service.log), ...strangeLines(stand.parsers.log)]
  } finally {
    await stand.stop()
  }
} finally {
  await bundle.remove()
}
for (const line of strange.slice(0, 20)) console.log(`workerd or Node said: ${line}`)
const inputs = reports.reduce((sum, report) => sum + report.inputs, 0)
const failed = reports.filter(({ failure }) => failure).length
const seconds = reports.reduce((sum, report) => sum + report.seconds, 0)
console.log(`\n${inputs} inputs in ${seconds.toFixed(0)} s, ${failed} of ${reports.length} suites failed`)
process.exit(failed > 0 || strange.length > 0 ? 1 : 0)

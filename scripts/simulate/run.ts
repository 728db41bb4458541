import { parseArgs } from "node:util"
import { CONSTANTS } from "./constants.ts"
import { type Deployment, type Estimate, estimate, ROADS, type Road } from "./model.ts"

const HELP = `Usage: npm run simulate -- [options]

Estimates what a deployment costs, how fast it answers, and which limit it meets first.

  --callers N            programs that send (default 12)
  --batches-per-second X each of them, on average over the day (default 0.2)
  --batch N              signals of a batch (default 500)
  --road ROAD            sync, async or webhook (default sync)
  --colos N              Cloudflare locations that they reach (default 1)
  --cu X                 largest compute size at Neon, in CU (default 1)
  --table                the table of docs/scale.md
  --constants            every constant of the model, with its source
`

const OPTIONS = {
  callers: { type: "string", default: "12" },
  "batches-per-second": { type: "string", default: "0.2" },
  batch: { type: "string", default: "500" },
  road: { type: "string", default: "sync" },
  colos: { type: "string", default: "1" },
  cu: { type: "string", default: "1" },
  table: { type: "boolean", default: false },
  constants: { type: "boolean", default: false },
  help: { type: "boolean", default: false },
} as const

const money = (dollars: number) =>
  dollars >= 10 ? Math.round(dollars).toLocaleString("en-US") : dollars.toFixed(2)
const amount = (value: number) =>
  new Intl.NumberFormat("en-US", { notation: "compact", maximumSignificantDigits: 3 }).format(value)
const ms = (value: number) => (Number.isFinite(value) ? `${Math.round(value)} ms` : "no answer")
const percent = (used: number) => `${amount(used * 100)} %`

/** One deployment a line: signals a day, the road, the callers, the compute. */
const TABLE: readonly Deployment[] = [
  deployment("sync", 1e6, 500, 1),
  deployment("webhook", 1e6, 1, 1),
  deployment("sync", 100e6, 500, 1),
  deployment("async", 100e6, 500, 1),
  deployment("webhook", 100e6, 1, 1),
  deployment("sync", 10e9, 500, 56),
]

/** Callers that send a batch in five seconds each, as many as it takes; webhooks come from 20 senders. */
function deployment(road: Road, signalsPerDay: number, batch: number, cu: number): Deployment {
  const batches = signalsPerDay / 86_400 / batch
  const callers = road === "webhook" ? 20 : Math.max(1, Math.ceil(batches * 5))
  return { road, callers, batchesPerSecond: batches / callers, batch, colos: 3, cu }
}

function tableLine(deployment: Deployment): string {
  const { signalsPerDay, latencyMs, dollars, dollarsPerMillion, dollarsMorePerMonth, limits, daysOfStorage } =
    estimate(deployment)
  const total = Object.values(dollars).reduce((sum, part) => sum + part, 0)
  const [first] = limits
  const cells = [
    amount(signalsPerDay),
    `${deployment.road}${deployment.road === "webhook" ? "" : `, ${deployment.batch} a batch`}`,
    `${deployment.cu} CU`,
    `${ms(latencyMs.p50)}; ${ms(latencyMs.p99)}`,
    money(total),
    money(dollarsMorePerMonth),
    money(dollarsPerMillion),
    `${first?.name}: ${percent(first?.used ?? 0)}`,
    amount(daysOfStorage),
  ]
  return `| ${cells.join(" | ")} |`
}

function table(): string {
  const heads =
    "signals a day|road|Neon|p50; p99|$ in month 1|$ more each month|$ a million|first limit at the peak|days until 16 TB"
  return [`| ${heads.split("|").join(" | ")} |`, `|${"---|".repeat(9)}`, ...TABLE.map(tableLine)].join("\n")
}

function constants(): string {
  const rows = Object.values(CONSTANTS).map(
    ({ value, unit, source }) => `| ${amount(value)} ${unit} | ${source} |`,
  )
  return ["| number | source |", "|---|---|", ...rows].join("\n")
}

function report(deployment: Deployment, found: Estimate): string {
  const total = Object.values(found.dollars).reduce((sum, part) => sum + part, 0)
  return [
    `${amount(found.signalsPerDay)} signals a day, ${amount(found.peakSignalsPerSecond)} a second at the peak, ${deployment.road}.`,
    `Answer at the peak: p50 ${ms(found.latencyMs.p50)}, p99 ${ms(found.latencyMs.p99)}.`,
    `$${money(total)} in the first month, $${money(found.dollarsPerMillion)} a million signals; $${money(found.dollarsMorePerMonth)} more each month that data stays.`,
    ...Object.entries(found.dollars).map(([name, dollars]) => `  ${name.padEnd(18)} $${money(dollars)}`),
    "Limits at the peak, the most used first:",
    ...found.limits.map(
      ({ name, used, beyond }) => `  ${percent(used).padStart(8)}  ${name}. Beyond it: ${beyond}.`,
    ),
    `16 TB of a Neon branch are full after ${amount(found.daysOfStorage)} days: set RETENTION_DAYS.`,
  ].join("\n")
}

function positive(name: string, text: string): number {
  const number = Number(text)
  if (!(number > 0 && Number.isFinite(number)))
    throw new Error(`--${name} must be a number above 0, not "${text}".`)
  return number
}

function main(args: string[]): string {
  const { values } = parseArgs({ args, options: OPTIONS })
  if (values.help) return HELP.trimEnd()
  if (values.table) return table()
  if (values.constants) return constants()
  const road = ROADS.find((name) => name === values.road)
  if (!road) throw new Error(`--road must be one of ${ROADS.join(", ")}, not "${values.road}".`)
  const one = {
    road,
    callers: positive("callers", values.callers),
    batchesPerSecond: positive("batches-per-second", values["batches-per-second"]),
    batch: positive("batch", values.batch),
    colos: positive("colos", values.colos),
    cu: positive("cu", values.cu),
  }
  return report(one, estimate(one))
}

try {
  console.log(main(process.argv.slice(2)))
} catch (error) {
  console.error(
    `${error instanceof Error ? error.message : error} Run "npm run simulate -- --help" for the options.`,
  )
  process.exitCode = 2
}

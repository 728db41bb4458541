import { type Name, value } from "./constants.ts"

/**
 * `sync`: POST /api/signals/batch. `async`: the same with `Prefer: respond-async`. `webhook`: one record a
 * call, through the queue.
 */
export const ROADS = ["sync", "async", "webhook"] as const
export type Road = (typeof ROADS)[number]

export interface Deployment {
  road: Road
  callers: number
  /** Batches a second of one caller, on average over the day. */
  batchesPerSecond: number
  /** Signals of a batch. */
  batch: number
  /** Cloudflare locations that the callers reach. */
  colos: number
  /** Neon's compute size, in CU. */
  cu: number
}

/** A limit that a peak can reach, and how to raise it. */
interface Limit {
  name: string
  /** The used share at the peak; 1 is the limit. */
  used: number
  beyond: string
}

export interface Estimate {
  signalsPerDay: number
  peakSignalsPerSecond: number
  /** Latency of an answer at the peak, in milliseconds; not finite above a limit. */
  latencyMs: { p50: number; p99: number }
  /** Dollars of the first month, by kind of cost. */
  dollars: Record<string, number>
  dollarsPerMillion: number
  /** The increase of the bill from month to month, as the table grows. */
  dollarsMorePerMonth: number
  /** The most used limit first. */
  limits: Limit[]
  /** Days until the branch is full. */
  daysOfStorage: number
}

const DAY = 86_400
const MONTH_DAYS = 30

/** Computes the cost of a deployment, its latency, and the first limit that it reaches. */
export function estimate(deployment: Deployment): Estimate {
  const { road, callers, batchesPerSecond, cu } = deployment
  const batch = road === "webhook" ? 1 : deployment.batch
  const requests = callers * batchesPerSecond
  const signals = requests * batch
  const statementSize = road === "sync" ? batch : Math.max(batch, value("consumerBatch"))
  const statements = signals / statementSize
  const postgresMs = (value("statementMs") + statementSize * value("signalMs")) * statements
  const peak = value("peak")
  const load = { requests, signals, statements, statementSize, batch, postgresMs }
  const databaseUse = (postgresMs * peak) / 1000 / cu
  const limits = limitsOf(deployment, load, databaseUse).sort((a, b) => b.used - a.used)
  const dollars = dollarsOf(deployment, load)
  const total = Object.values(dollars).reduce((sum, price) => sum + price, 0)
  const monthBytes = signals * DAY * MONTH_DAYS * value("diskBytes")
  return {
    signalsPerDay: signals * DAY,
    peakSignalsPerSecond: signals * peak,
    latencyMs: latencyOf(road, load, databaseUse),
    dollars,
    dollarsPerMillion: total / ((signals * DAY * MONTH_DAYS) / 1e6),
    dollarsMorePerMonth: (monthBytes / 1e9) * value("storageMonth"),
    limits,
    daysOfStorage: value("branchBytes") / (signals * DAY * value("diskBytes")),
  }
}

interface Load {
  /** Average rates a second. */
  requests: number
  signals: number
  statements: number
  statementSize: number
  batch: number
  /** Milliseconds of Postgres CPU a second. */
  postgresMs: number
}

/**
 * Models a queue with one server at utilization `use`. The p99 of the sojourn time is its mean times ln(100).
 */
function latencyOf(road: Road, { batch }: Load, use: number): Estimate["latencyMs"] {
  const worker = value("workerMs") + batch * value("workerSignalMs")
  const way = value("edgeMs") + worker
  if (road === "webhook") return { p50: way + value("queueMs"), p99: way + 3 * value("queueMs") }
  if (road === "async") {
    const kept = value("bucketMs") + value("queueMs")
    return { p50: way + kept, p99: way + 3 * kept }
  }
  const mean =
    use < 1 ? (value("statementMs") + batch * value("signalMs")) / (1 - use) : Number.POSITIVE_INFINITY
  return {
    p50: way + value("databaseMs") + mean * Math.LN2,
    p99: way + value("databaseMs") + mean * Math.log(100),
  }
}

function limitsOf(
  { road, callers, batchesPerSecond, colos, cu }: Deployment,
  load: Load,
  databaseUse: number,
): Limit[] {
  const peak = value("peak")
  const inFlight =
    (load.statements *
      peak *
      (value("databaseMs") + value("statementMs") + load.statementSize * value("signalMs"))) /
    1000
  return [
    {
      name: `CPU of the database (${cu} CU)`,
      used: databaseUse / value("busy"),
      beyond: `a larger compute, to ${value("largestCu")} CU; then a branch for each group of conversations`,
    },
    {
      name: "statements at once at the database's pooler",
      used: inFlight / (value("pooledConnections") * cu),
      beyond: "a larger compute; larger batches",
    },
    {
      name: "requests of a caller (rate limit)",
      used: (batchesPerSecond * peak) / value("callerRequests"),
      beyond: "larger batches; a higher limit in wrangler.toml",
    },
    {
      name: "statements at once of an isolate, with one isolate a colo",
      used: road === "sync" ? inFlight / (value("isolateStatements") * colos) : 0,
      beyond: "Cloudflare starts more isolates; larger batches, or DATABASE_MAX_WRITES by measuring",
    },
    {
      name: "messages a second of the queue",
      used: road === "sync" ? 0 : (load.requests * peak) / value("queueMessages"),
      beyond:
        road === "webhook" ? "batches instead of webhooks; several queues" : "larger batches; several queues",
    },
  ].filter(({ used }) => used > 0 && callers > 0)
}

function dollarsOf(
  { road, cu }: Deployment,
  { requests, signals, postgresMs }: Load,
): Record<string, number> {
  const seconds = DAY * MONTH_DAYS
  const beyond = (used: number, included: Name, price: Name) =>
    (Math.max(0, used - value(included)) / 1e6) * value(price)
  const messages = road === "sync" ? 0 : requests * seconds
  const runs = messages / value("consumerBatch")
  const cpuMs =
    (requests * seconds + runs) * value("workerMs") +
    signals * seconds * value("workerSignalMs") * (road === "sync" ? 1 : 2)
  const objects = road === "async" ? messages : 0
  // The compute scales between its smallest size and `cu`, and the bill follows the running size.
  const meanCu = Math.min(cu, Math.max(0.25, (postgresMs * value("peak")) / 1000 / value("busy")))
  const storedGb = (signals * seconds * value("diskBytes")) / 1e9
  const historyGb = (signals * DAY * value("historyDays") * value("walBytes")) / 1e9
  return {
    Workers:
      value("workersMonth") +
      beyond(requests * seconds + runs, "requestsIncluded", "millionRequests") +
      beyond(cpuMs, "cpuIncluded", "millionCpuMs"),
    Queues: beyond(messages * value("queueOperations"), "queueIncluded", "millionQueueOperations"),
    R2:
      beyond(objects, "r2WritesIncluded", "millionR2Writes") +
      beyond(objects, "r2ReadsIncluded", "millionR2Reads"),
    "Analytics Engine": beyond(requests * seconds + runs, "pointsIncluded", "millionPoints"),
    "Neon compute": meanCu * value("cuHour") * 24 * MONTH_DAYS,
    "Neon storage": storedGb * value("storageMonth"),
    "Neon history": historyGb * value("historyMonth"),
  }
}

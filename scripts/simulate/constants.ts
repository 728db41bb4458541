/** A number of the model, with its unit and its source. */
export interface Constant {
  value: number
  unit: string
  source: string
}

const constant = (value: number, unit: string, source: string): Constant => ({ value, unit, source })

const WORKERS_PRICING = "https://developers.cloudflare.com/workers/platform/pricing/"
const QUEUES_PRICING = "https://developers.cloudflare.com/queues/platform/pricing/"
const QUEUES_LIMITS = "https://developers.cloudflare.com/queues/platform/limits/"
const R2_PRICING = "https://developers.cloudflare.com/r2/pricing/"
const ANALYTICS_PRICING = "https://developers.cloudflare.com/analytics/analytics-engine/pricing/"
const NEON_PRICING = "https://neon.com/faqs/managed-postgres-services-pay-active-compute"
const NEON_PLANS = "https://neon.com/docs/introduction/plans"
const NEON_POOL = "https://neon.com/docs/connect/connection-pooling"
const MEASURED = "docs/benchmarks"
const ASSUMED = "assumption; give your own with the option"

/** The constants of the model. Prices are in US dollars. */
export const CONSTANTS = {
  workersMonth: constant(5, "$ a month", WORKERS_PRICING),
  requestsIncluded: constant(10e6, "requests a month", WORKERS_PRICING),
  millionRequests: constant(0.3, "$ a million", WORKERS_PRICING),
  cpuIncluded: constant(30e6, "ms a month", WORKERS_PRICING),
  millionCpuMs: constant(0.02, "$ a million ms", WORKERS_PRICING),
  queueIncluded: constant(1e6, "operations a month", QUEUES_PRICING),
  millionQueueOperations: constant(0.4, "$ a million", QUEUES_PRICING),
  queueOperations: constant(3, "operations a message: write, read, delete", QUEUES_PRICING),
  queueMessages: constant(5000, "messages a second and queue", QUEUES_LIMITS),
  r2WritesIncluded: constant(1e6, "writes a month", R2_PRICING),
  millionR2Writes: constant(4.5, "$ a million", R2_PRICING),
  r2ReadsIncluded: constant(10e6, "reads a month", R2_PRICING),
  millionR2Reads: constant(0.36, "$ a million", R2_PRICING),
  pointsIncluded: constant(10e6, "data points a month", ANALYTICS_PRICING),
  millionPoints: constant(0.25, "$ a million", ANALYTICS_PRICING),
  cuHour: constant(0.222, "$ a CU-hour, plan Scale", NEON_PRICING),
  storageMonth: constant(0.35, "$ a GB-month", NEON_PRICING),
  historyMonth: constant(0.2, "$ a GB-month of changes kept for restore", NEON_PRICING),
  largestCu: constant(56, "CU, fixed size, plan Scale", NEON_PLANS),
  branchBytes: constant(16e12, "bytes of a branch", NEON_PLANS),
  pooledConnections: constant(0.9 * 419, "statements at once at 1 CU", NEON_POOL),
  workerMs: constant(0.9, "ms of Worker CPU a request", MEASURED),
  workerSignalMs: constant(0.008, "ms of Worker CPU a signal", MEASURED),
  statementMs: constant(0.7, "ms of Postgres CPU a statement", MEASURED),
  signalMs: constant(0.033, "ms of Postgres CPU a signal", MEASURED),
  diskBytes: constant(640, "bytes on disk a signal of 450 bytes", MEASURED),
  walBytes: constant(886, "bytes of WAL a signal", MEASURED),
  consumerBatch: constant(100, "messages a statement of the consumer", "wrangler.toml"),
  callerRequests: constant(200, "requests a second, caller and colo", "wrangler.toml"),
  isolateStatements: constant(8, "writes at once in an isolate", "src/config.ts"),
  busy: constant(0.7, "of the database's CPU in use at the peak", ASSUMED),
  peak: constant(3, "times the mean at the peak", ASSUMED),
  historyDays: constant(7, "days of changes kept for restore", ASSUMED),
  edgeMs: constant(30, "ms from the caller to the Worker beside the database and back", ASSUMED),
  databaseMs: constant(3, "ms from the Worker to the database and back", ASSUMED),
  queueMs: constant(50, "ms to write a message", ASSUMED),
  bucketMs: constant(60, "ms to write an object", ASSUMED),
} satisfies Record<string, Constant>

export type Name = keyof typeof CONSTANTS

/** The numbers alone. */
export const value = (name: Name): number => CONSTANTS[name].value

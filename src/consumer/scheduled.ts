import { copyKeys } from "../access/keys.ts"
import type { Bindings } from "../bindings.ts"
import { readSettings, type Settings } from "../config.ts"
import { resealSubscriptions } from "../deliver/reseal.ts"
import { errorForLog, LoggableError } from "../errors.ts"
import { continueErasure } from "../ingest/erase.ts"
import { type Outcome, recordPoint, SWEEP_ROUTE } from "../metrics/points.ts"
import { deleteLeases } from "../store/access/keys.ts"
import { auditSample, type Sample } from "../store/audit/sample.ts"
import { connect } from "../store/database/connection.ts"
import { makePartitions } from "../store/database/partitions.ts"
import { releaseExpiredKeys } from "../store/ledger/keys.ts"
import { releaseSuppressions } from "../store/lifecycle/erase.ts"
import { runningErasures } from "../store/lifecycle/erasures.ts"
import {
  deleteExpiredBatches,
  deleteExpiredSignals,
  deleteScoresOfDropped,
  deleteSettledDeadLetters,
  dropExpiredPartitions,
} from "../store/lifecycle/retention.ts"
import { expireWaitingScores, storeArrivedScores } from "../store/scores/waiting.ts"
import { sweepBucket, sweepKeys } from "./sweep.ts"
import { isReachable } from "./tasks.ts"

/** The deadlines of the steps. Cloudflare ends a cron trigger after 15 minutes. */
const RELEASE_DEADLINE_MS = 3 * 60 * 1000
const ERASURE_MS = 5 * 60 * 1000
const AUDIT_MS = 30 * 1000
/** For each kind of expired data. */
const RETENTION_MS = 90 * 1000

/**
 * The hourly sweep. Its steps are independent: a step that fails is logged, and runs again an hour later.
 * Nothing runs while the database does not answer: messages would only accumulate beside the claim checks
 * that they name.
 *
 * @param now a time in the future makes every claim check overdue, for tests
 */
export async function runScheduled(bindings: Bindings, now: Date): Promise<void> {
  const { QUEUE: queue, BUCKET: bucket, METRICS: metrics } = bindings
  const step = stepsOf(metrics)
  await step("scheduled", async () => {
    const { database } = readSettings(bindings)
    if (!(await isReachable(database))) throw new LoggableError("the database does not answer")
    if (queue && bucket) await step("bucket_swept", () => sweepBucket({ queue, bucket, now }))
    if (bucket) await step("expired_key_objects_deleted", () => sweepKeys(bucket, now))
    // A change of a key writes the copy too, and fails to when the bucket does not answer.
    if (bucket) await step("keys_copied", () => copyKeys(bucket, connect(database, { traffic: "consumer" })))
    const { secrets } = readSettings(bindings).subscriptions
    if (secrets.length > 1)
      await step("subscriptions_resealed", () =>
        resealSubscriptions(connect(database, { traffic: "consumer" }), secrets),
      )
    await step("partitions_made", () => makePartitions(connect(database, { traffic: "consumer" })))
    await step("erasures_continued", () => continueErasures({ database, queue, bucket }))
    await step("suppressions_released", () => releaseSuppressions(connect(database, { traffic: "consumer" })))
    // A ledger row that has a key is not deleted.
    await step("expired_keys_released", () =>
      releaseExpiredKeys(connect({ ...database, deadlineMs: RELEASE_DEADLINE_MS }, { traffic: "consumer" })),
    )
    await sweepExpired(readSettings(bindings), step)
    await auditInTurn(database, step)
  })
  await recordSweep(metrics, "answered")
}

/** Continues every erasure that is not done, oldest first. @returns their number */
async function continueErasures({
  database,
  queue,
  bucket,
}: {
  database: Settings["database"]
  queue: Queue | undefined
  bucket: R2Bucket | undefined
}): Promise<number> {
  const untilMs = Date.now() + ERASURE_MS
  const db = connect({ ...database, deadlineMs: ERASURE_MS }, { traffic: "consumer" })
  const running = await runningErasures(db)
  for (const id of running) await continueErasure({ db, queue, bucket }, id, untilMs)
  return running.length
}

/** Deletes data that is older than its retention. */
async function sweepExpired(
  { database, retention }: Pick<Settings, "database" | "retention">,
  step: Step,
): Promise<void> {
  const { signalDays, ledgerDays } = retention
  const db = () => connect({ ...database, deadlineMs: RETENTION_MS }, { traffic: "consumer" })
  if (signalDays !== undefined) {
    await step("expired_partitions_dropped", () => dropExpiredPartitions(db(), signalDays))
    await step("expired_signals_deleted", () => deleteExpiredSignals(db(), signalDays))
  }
  await step("leases_deleted", () => deleteLeases(db()))
  await step("arrived_scores_stored", () => storeArrivedScores(db()))
  await step("waiting_scores_expired", () => expireWaitingScores(db()))
  await step("scores_of_dropped_deleted", () => deleteScoresOfDropped(db()))
  await step("expired_batches_deleted", async () => (await deleteExpiredBatches(db(), ledgerDays)).deleted)
  await step("settled_dead_letters_deleted", () => deleteSettledDeadLetters(db(), ledgerDays))
}

/** The most mismatches of a sweep that have a log line of their own. */
const LOGGED_MISMATCHES = 20

/** Compares a sample of the ledger with the signals. A mismatch is a step that fails, by its own name. */
async function auditInTurn(database: Settings["database"], step: Step): Promise<void> {
  const sampled: Partial<Sample> = {}
  const db = connect({ ...database, deadlineMs: AUDIT_MS }, { traffic: "consumer" })
  await step("ledger_sampled", async () => Object.assign(sampled, await auditSample(db)).checked)
  const { mismatchCount = 0, mismatches = [] } = sampled
  for (const mismatch of mismatches.slice(0, LOGGED_MISMATCHES))
    console.log(JSON.stringify({ event: "ledger_mismatch", ...mismatch }))
  if (mismatchCount > 0)
    await step("ledger_mismatch", () => {
      throw new LoggableError(`the ledger has ${mismatchCount} mismatches; signals audit lists them`)
    })
}

type Step = (event: string, work: () => Promise<unknown>) => Promise<void>

/** Runs one step, and logs its count or its error. An error also becomes a data point. */
const stepsOf =
  (metrics: Bindings["METRICS"]): Step =>
  async (event, work) => {
    const startedAt = Date.now()
    const log = (outcome: object) =>
      console.log(JSON.stringify({ event, ms: Date.now() - startedAt, ...outcome }))
    try {
      const count = await work()
      log({ count })
    } catch (error) {
      log({ error: errorForLog(error) })
      await recordSweep(metrics, "error", event)
    }
  }

const recordSweep = (metrics: Bindings["METRICS"], outcome: Outcome, failedStep?: string) =>
  recordPoint(
    metrics,
    { route: SWEEP_ROUTE, outcome },
    { sources: new Map(), codes: new Map(failedStep ? [[failedStep, 1]] : []) },
  )

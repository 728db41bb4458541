import { Consumer, MessagesStreamFallbackModes, MessagesStreamModes } from "@platformatic/kafka"
import { FieldMapping } from "../../bridges/kafka/mapping.ts"
import { deliverEach } from "../../client/deliver.ts"
import { type BatchAnswer, SignalError } from "../../client/index.ts"
import { type FailedRecord, FailuresFile, ownName } from "../failures.ts"
import { openClient } from "../options.ts"
import { openLine } from "../progress.ts"
import { EXIT, reasonOf, UsageError } from "../usage.ts"
import { type ConnectionOptions, readConnection } from "./connection.ts"
import { commitLast, gathered } from "./gather.ts"
import { mapMessages } from "./records.ts"
import { Tally } from "./tally.ts"

/** After a crash the other members get the partitions when no heartbeat has arrived for `sessionTimeout`. */
const GROUP = { sessionTimeout: 10_000, heartbeatInterval: 3000 }

/** The longest time that records wait for more records of their batch. */
const MAX_WAIT_MS = 1000
const LAG_EVERY_MS = 5000

export interface ConsumeOptions extends ConnectionOptions {
  /** HOST:PORT, separated by commas. */
  brokers: string
  topic: string[]
  group: string
  from: "earliest" | "latest"
  /** JSON of a `FieldMapping`. */
  mapping: string
  cluster?: string | undefined
  url: string
  batchSize: number
  /** Seconds. */
  deadline: number
  failures?: string | undefined
  quiet?: true | undefined
}

/**
 * Runs `signals consume kafka` until it is stopped. Offsets are committed after the records before them are
 * stored or in the failures file, so that no record is lost; each record has an identity of its own, so that
 * none is stored twice.
 *
 * @returns the exit code
 */
export async function consumeKafka(options: ConsumeOptions, stop: AbortSignal): Promise<number> {
  const { brokers, topic: topics, group, batchSize } = options
  const mapping = readMapping(options.mapping)
  const connection = await readConnection(options)
  const client = openClient(options)
  const failures = new FailuresFile(
    ownName(options.failures ?? `.signals/${topics.join("-")}.failures.jsonl`),
    0,
  )
  const run = crypto.randomUUID()
  const tally = new Tally()
  const line = options.quiet ? undefined : openLine(process.stderr)
  const consumer = new Consumer({
    groupId: group,
    clientId: "signal-ingest",
    bootstrapBrokers: brokers.split(","),
    ...GROUP,
    ...connection,
  })
  // The lag is only shown: an error in reading it must not stop the consumer.
  consumer.on("consumer:lag:error", () => {})
  consumer.on("consumer:lag", (lag) => tally.setLag(lag))
  let number = 0
  try {
    const stream = await consumer.consume({
      topics,
      autocommit: false,
      mode: MessagesStreamModes.COMMITTED,
      fallbackMode: MessagesStreamFallbackModes[options.from === "latest" ? "LATEST" : "EARLIEST"],
      maxWaitTime: MAX_WAIT_MS,
    })
    consumer.startLagMonitoring({ topics }, LAG_EVERY_MS)
    stop.addEventListener("abort", () => void stream.close(), { once: true })
    for await (const messages of gathered(stream, batchSize, MAX_WAIT_MS)) {
      const { signals, places, failed, skipped } = mapMessages(messages, mapping, options.cluster)
      const answers: BatchAnswer[] = []
      const refused = await deliverEach(client, signals as never, {
        deadlineMs: options.deadline * 1000,
        idempotencyKey: `consume-${run}-${number++}`,
        minimal: false,
        onAnswer: (answer) => answers.push(answer),
      })
      const all: FailedRecord[] = [
        ...failed,
        ...refused.map(({ index, ...why }) => ({
          ...why,
          place: places[index] ?? "",
          signal: signals[index] ?? {},
        })),
      ]
      if (all.length > 0 && tally.failed === 0) line?.print(`Records that fail are kept in ${failures.path}.`)
      await failures.append(all)
      await commitLast(messages)
      tally.add(messages, { answers, failed: all.length, skipped })
      line?.show(tally.sentence())
    }
    return stop.aborted ? EXIT.stopped : tally.failed > 0 ? EXIT.someFailed : EXIT.done
  } catch (error) {
    if (stop.aborted) return EXIT.stopped
    line?.end()
    const what =
      error instanceof SignalError ? reasonOf(error) : `the Kafka brokers at ${brokers}: ${causesOf(error)}`
    console.error(
      `Gave up: ${what}\nNo offset of an unstored record was committed: the same command continues.`,
    )
    return EXIT.gaveUp
  } finally {
    line?.end()
    consumer.stopLagMonitoring()
    await failures.close()
    await Promise.resolve(consumer.close(true)).catch(() => {})
  }
}

function readMapping(text: string): FieldMapping {
  try {
    const result = FieldMapping.safeParse(JSON.parse(text))
    if (result.success) return result.data
    const [issue] = result.error.issues
    throw new UsageError(`--mapping: ${issue?.path.join(".")}: ${issue?.message}`)
  } catch (error) {
    throw error instanceof UsageError ? error : new UsageError("--mapping must be JSON.")
  }
}

/** Returns the messages of the innermost errors: "failed 4 times" does not give the reason. */
function causesOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const causes =
    error instanceof AggregateError ? error.errors : error.cause === undefined ? [] : [error.cause]
  return causes.length === 0 ? error.message : [...new Set(causes.map(causesOf))].join("; ")
}

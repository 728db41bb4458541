import { once } from "node:events"
import { setTimeout as sleep } from "node:timers/promises"
import { type Message, MessagesStreamFallbackModes, MessagesStreamModes } from "@platformatic/kafka"
import { FieldMapping } from "../../bridges/kafka/mapping.ts"
import { deliverEach, deliverTexts } from "../../client/deliver.ts"
import { type BatchAnswer, type Failure, type SignalClient, SignalError } from "../../client/index.ts"
import { type FailedRecord, FailuresFile, ownName } from "../files/failures.ts"
import { EXIT, GaveUpError, reasonOf, UsageError } from "../terminal/errors.ts"
import { type Invocation, openClient } from "../terminal/options.ts"
import { type Line, openLine, say } from "../terminal/output.ts"
import { type ConnectionOptions, readConnection } from "./connection.ts"
import { beginAtLatest, CommittedConsumer, LostOffsetError, type OnLost } from "./consumer.ts"
import { ConsumeCounts } from "./counts.ts"
import { commitLast, gathered } from "./gather.ts"
import { assignToReaders, countPartitions, followPartitions } from "./partitions.ts"
import { mapMessages } from "./records.ts"

/** After a crash the other members get the partitions when no heartbeat has arrived for `sessionTimeout`. */
const GROUP = { sessionTimeout: 10_000, heartbeatInterval: 3000 }

/** The longest time that records wait for more records of their batch. */
const MAX_WAIT_MS = 1000
const LAG_EVERY_MS = 5000
/** After a stop, the time to leave a group that the consumer had not joined completely. */
const LEAVE_WITHIN_MS = 1000

export interface ConsumeOptions extends ConnectionOptions {
  /** HOST:PORT, separated by commas. */
  brokers: string
  topic: string[]
  group: string
  from: "earliest" | "latest"
  onLost: OnLost
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
export async function consumeKafka(options: ConsumeOptions, invocation: Invocation): Promise<number> {
  const { brokers, topic: topics, group } = options
  checkNames(options)
  const { stop } = invocation
  const work: Work = {
    options,
    mapping: readMapping(options.mapping),
    client: openClient(options),
    failures: new FailuresFile(ownName(options.failures ?? `.signals/${topics.join("-")}.failures.jsonl`)),
    counts: new ConsumeCounts(),
    line: options.quiet ? undefined : openLine(process.stderr),
    end: invocation.end,
  }
  const { counts, line, failures } = work
  const connection = {
    clientId: "signal-ingest",
    bootstrapBrokers: brokers.split(","),
    ...(await readConnection(options)),
  }
  const tell = (sentence: string) => (line ? line.print(sentence) : say(sentence))
  const consumer = new CommittedConsumer({
    groupId: group,
    ...GROUP,
    ...connection,
    partitionAssigner: assignToReaders,
    onLost: options.onLost,
    tell,
  })
  // The lag is only shown: an error in reading it must not stop the consumer.
  consumer.on("consumer:lag:error", () => {})
  consumer.on("consumer:lag", (lag) => counts.setLag(lag))
  let unfollow = () => {}
  let isMember = false
  try {
    if (options.from === "latest")
      await unlessStopped(beginAtLatest(consumer, { group, topics, ...connection }), stop)
    const known = await unlessStopped(countPartitions(consumer, topics), stop)
    const consuming = consumer.consume({
      topics,
      autocommit: false,
      mode: MessagesStreamModes.COMMITTED,
      // A partition without an offset of the group was added later.
      fallbackMode: MessagesStreamFallbackModes.EARLIEST,
      maxWaitTime: MAX_WAIT_MS,
    })
    const stream = await unlessStopped(consuming, stop)
    isMember = true
    consumer.startLagMonitoring({ topics }, LAG_EVERY_MS)
    unfollow = followPartitions(consumer, { known, onError: (error) => stream.destroy(error) })
    if (stop.aborted) return EXIT.stopped
    stop.addEventListener("abort", () => void stream.close(), { once: true })
    for await (const messages of gathered(stream, options.batchSize, MAX_WAIT_MS)) await store(messages, work)
    return stop.aborted ? EXIT.stopped : counts.failed > 0 ? EXIT.someFailed : EXIT.done
  } catch (error) {
    if (stop.aborted) return EXIT.stopped
    line?.end()
    throw withAdvice(error, brokers)
  } finally {
    line?.end()
    unfollow()
    consumer.stopLagMonitoring()
    await failures.close()
    const closed = Promise.resolve(consumer.close(true)).catch(() => {})
    // A broker that has not answered yet may never.
    await (isMember ? closed : Promise.race([closed, sleep(LEAVE_WITHIN_MS, undefined, { ref: false })]))
  }
}

/** @throws {UsageError} the library would refuse a name with an error of its own */
function checkNames({ brokers, topic, group }: ConsumeOptions): void {
  if (!/^\S+$/.test(group)) throw new UsageError("--group must be a name without spaces.")
  if (!topic.every((name) => /^[\w.-]{1,249}$/.test(name)))
    throw new UsageError("--topic must have 1 to 249 letters, digits or . _ -.")
  if (!brokers.split(",").every((broker) => /^[^\s/]+:\d{1,5}$/.test(broker)))
    throw new UsageError("--brokers must be HOST:PORT, several separated by commas.")
}

/** Waits for work that cannot be aborted. @throws the stop comes first */
async function unlessStopped<Value>(work: Promise<Value>, stop: AbortSignal): Promise<Value> {
  stop.throwIfAborted()
  const settled = new AbortController()
  try {
    return await Promise.race([
      work,
      once(stop, "abort", { signal: settled.signal }).then(() => Promise.reject(stop.reason)),
    ])
  } finally {
    settled.abort()
  }
}

interface Work {
  options: ConsumeOptions
  mapping: FieldMapping
  client: SignalClient
  failures: FailuresFile
  counts: ConsumeCounts
  line: Line | undefined
  end: AbortSignal
}

const run = crypto.randomUUID()
let batchNumber = 0

/** Stores messages, and then commits their offsets. */
async function store(messages: Message[], work: Work): Promise<void> {
  const { options, mapping, client, failures, counts, line, end } = work
  const mapped = mapMessages(messages, mapping, options.cluster)
  const answers: BatchAnswer[] = []
  const sending = {
    deadlineMs: options.deadline * 1000,
    signal: end,
    idempotencyKey: `consume-${run}-${batchNumber++}`,
    minimal: false,
    onAnswer: (answer: BatchAnswer) => answers.push(answer),
  }
  const signals = await deliverEach(client, mapped.signals as never, sending)
  // After the signals of the same batch, so that fewer scores wait.
  const scores = await deliverTexts(
    client,
    mapped.scores.map((score) => JSON.stringify(score)),
    { ...sending, idempotencyKey: `${sending.idempotencyKey}-scores`, isScores: true },
  )
  const all: FailedRecord[] = [
    ...mapped.failed,
    ...failedRecords(signals, mapped.places, mapped.signals),
    ...failedRecords(scores, mapped.scorePlaces, mapped.scores),
  ]
  if (all.length > 0 && counts.failed === 0) line?.print(`Records that fail are kept in ${failures.path}.`)
  await failures.append(all)
  await commitLast(messages)
  counts.add(messages, { answers, failed: all.length, skipped: mapped.skipped })
  line?.show(counts.sentence())
}

const failedRecords = (
  failures: readonly Failure[],
  places: readonly string[],
  records: readonly Record<string, unknown>[],
): FailedRecord[] =>
  failures.map(({ index, ...why }) => ({
    ...why,
    place: places[index] ?? "",
    signal: records[index] ?? {},
  }))

/** An error with what to do about it. What is not the service's comes from the brokers. */
function withAdvice(error: unknown, brokers: string): Error {
  const lost = findLost(error)
  if (lost) return lost
  if (error instanceof UsageError || (error instanceof Error && "syscall" in error && "path" in error))
    return error
  const what =
    error instanceof SignalError ? reasonOf(error) : `the Kafka brokers at ${brokers}: ${causesOf(error)}`
  return new GaveUpError(
    `${what}\nNo offset of an unstored record was committed: the same command continues.`,
  )
}

function findLost(error: unknown): LostOffsetError | undefined {
  if (error instanceof LostOffsetError) return error
  return error instanceof Error && error.cause !== undefined ? findLost(error.cause) : undefined
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

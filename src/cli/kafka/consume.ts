import { setTimeout as sleep } from "node:timers/promises"
import { Consumer, type Message, MessagesStreamFallbackModes, MessagesStreamModes } from "@platformatic/kafka"
import { FieldMapping } from "../../bridges/kafka/field-mapping.ts"
import { mapKafkaRecord, readKafkaValue } from "../../bridges/kafka/requests.ts"
import { type FailedRecord, FailuresFile } from "../failures.ts"
import { deliverTo } from "../import/deliver.ts"
import { Window } from "../import/window.ts"
import { openClient } from "../options.ts"
import { EXIT, UsageError } from "../usage.ts"

/** After a crash the next to come waits as long for the partitions as the group waits for the one that is gone. */
const GROUP = { sessionTimeout: 10_000, heartbeatInterval: 3000 }

/** How long records wait for others of their batch. */
const MAX_WAIT_MS = 1000

export interface ConsumeOptions {
  brokers: string
  topic: string[]
  group: string
  from: "earliest" | "latest"
  mapping: string
  cluster?: string | undefined
  url: string
  batchSize: number
  /** Seconds. */
  deadline: number
  failures?: string | undefined
  quiet?: true | undefined
}

/** `signals consume kafka`. Runs until it is stopped; returns the exit code. */
export async function consumeKafka(values: ConsumeOptions, stop: AbortSignal): Promise<number> {
  const { brokers, topic: topics, group, batchSize } = values
  const deadlineMs = values.deadline * 1000
  const mapping = readMapping(values.mapping)
  const client = openClient(values)
  const failures = new FailuresFile(values.failures ?? `.signals/${topics.join("-")}.failures.jsonl`, 0)
  // Every record is known by its place, so a batch that is sent again after a crash stores nothing twice, whatever its key.
  const deliver = deliverTo(client, crypto.randomUUID(), { deadlineMs })
  const consumer = new Consumer({ groupId: group, clientId: "signal-ingest", bootstrapBrokers: brokers.split(","), ...GROUP })
  const counts = { read: 0, stored: 0, failed: 0, skipped: 0 }
  let number = 0
  try {
    const stream = await consumer.consume({
      topics,
      autocommit: false,
      mode: MessagesStreamModes.COMMITTED,
      fallbackMode: MessagesStreamFallbackModes[values.from === "latest" ? "LATEST" : "EARLIEST"],
      maxWaitTime: MAX_WAIT_MS,
    })
    stop.addEventListener("abort", () => void stream.close(), { once: true })
    for await (const messages of gathered(stream, batchSize, MAX_WAIT_MS)) {
      const { signals, places, faults, skipped } = signalsOf(messages, mapping, values.cluster)
      const refused = await deliver(
        { number: number++, signals, places, faults, skipped: {}, read: messages.length, position: "" },
        new Window(1),
      )
      const failed = [
        ...faults,
        ...refused.map(({ index, error }) => ({ place: places[index] ?? "", error, signal: signals[index] ?? {} })),
      ]
      await failures.append(failed)
      await commitLast(messages)
      counts.read += messages.length
      counts.stored += signals.length - refused.length
      counts.failed += failed.length
      counts.skipped += skipped
      if (!values.quiet)
        console.error(`${counts.read} read, ${counts.stored} stored, ${counts.failed} failed, ${counts.skipped} skipped`)
    }
    return stop.aborted ? EXIT.stopped : EXIT.done
  } catch (error) {
    if (stop.aborted) return EXIT.stopped
    console.error(`Gave up: ${(error as Error).message}\nNothing of what is not stored was committed: the same command goes on.`)
    return EXIT.gaveUp
  } finally {
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

/** Messages in the order in which they come, as many as a batch holds or as come in time. */
async function* gathered(stream: AsyncIterable<Message>, most: number, waitMs: number): AsyncGenerator<Message[]> {
  const messages = stream[Symbol.asyncIterator]()
  let next = messages.next()
  for (;;) {
    const first = await next
    if (first.done) return
    const batch = [first.value]
    const endsAt = Date.now() + waitMs
    next = messages.next()
    while (batch.length < most) {
      const more = await Promise.race([next, after(endsAt - Date.now())])
      if (more === undefined || more.done) break
      batch.push(more.value)
      next = messages.next()
    }
    yield batch
  }
}

const after = (ms: number) => sleep(Math.max(0, ms), undefined, { ref: false })

interface Mapped {
  signals: Record<string, unknown>[]
  places: string[]
  faults: FailedRecord[]
  skipped: number
}

function signalsOf(messages: readonly Message[], mapping: FieldMapping, cluster: string | undefined): Mapped {
  const mapped: Mapped = { signals: [], places: [], faults: [], skipped: 0 }
  for (const { topic, partition, offset, key, value, headers, timestamp } of messages) {
    const place = `${topic}/${partition}/${offset}`
    const record = readKafkaValue(
      {
        topic,
        partition,
        offset: Number(offset),
        timestamp: Number(timestamp),
        key: key?.toString("utf8"),
        headers: Object.fromEntries([...headers].map(([name, text]) => [name.toString("utf8"), text?.toString("utf8")])),
      },
      value?.toString("utf8"),
      cluster,
    )
    const delivered = mapKafkaRecord(record, mapping)
    if ("skipped" in delivered) mapped.skipped++
    else if ("refused" in delivered)
      mapped.faults.push({ place, error: delivered.refused, signal: { payload: { value: record.value } } })
    else {
      mapped.signals.push(delivered.signal)
      mapped.places.push(place)
    }
  }
  return mapped
}

/** Commits how far each partition has come: everything before is stored, or in the failures file. */
async function commitLast(messages: readonly Message[]): Promise<void> {
  const last = new Map(messages.map((message) => [`${message.topic}/${message.partition}`, message]))
  for (const message of last.values()) await message.commit()
}

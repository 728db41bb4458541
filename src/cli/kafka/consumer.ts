import {
  Admin,
  Consumer,
  type ConsumerOptions,
  type FetchOptions,
  ListOffsetTimestamps,
} from "@platformatic/kafka"
import { GaveUpError } from "../terminal/errors.ts"

type FetchResponse = Awaited<ReturnType<Consumer["fetch"]>>
type Callback = (error: Error | null, response?: FetchResponse) => void
type FetchedPartition = FetchResponse["responses"][number]["partitions"][number]
type RecordsBatch = NonNullable<FetchedPartition["records"]>[number]

/** What to do when the records behind the group's offset were deleted before they were read. */
export type OnLost = "earliest" | "latest" | "stop"

/** The topic's retention has deleted records that the group had not read. */
export class LostOffsetError extends GaveUpError {}

export type CommittedConsumerOptions = ConsumerOptions<Buffer, Buffer, Buffer, Buffer> & {
  onLost: OnLost
  /** Receives a sentence when records were lost, and reading goes on. */
  tell: (sentence: string) => void
}

/**
 * A consumer that never delivers a record of an aborted transaction, and that says what happens when the
 * group's offset is no longer in the topic.
 *
 * The library (2.12.1) keeps one range of offsets for each producer, so that of several aborted transactions
 * in one answer it filters only the last one.
 */
export class CommittedConsumer extends Consumer<Buffer, Buffer, Buffer, Buffer> {
  readonly #onLost: OnLost
  readonly #tell: (sentence: string) => void

  constructor({ onLost, tell, ...options }: CommittedConsumerOptions) {
    super(options)
    this.#onLost = onLost
    this.#tell = tell
  }

  override fetch(options: FetchOptions<Buffer, Buffer, Buffer, Buffer>, callback: Callback): void
  override fetch(options: FetchOptions<Buffer, Buffer, Buffer, Buffer>): Promise<FetchResponse>
  override fetch(
    options: FetchOptions<Buffer, Buffer, Buffer, Buffer>,
    callback?: Callback,
  ): Promise<FetchResponse> | undefined {
    if (!callback) return super.fetch(options).then(withoutAborted)
    super.fetch(options, (error, response) => {
      if (!error && response) callback(error, withoutAborted(response))
      else if (error && lostIn(error).length > 0)
        this.#continueBehind(error).then(callback, (cause: Error) => callback(cause))
      else callback(error, response)
    })
    return undefined
  }

  /**
   * Returns the error that the library shall see of a fetch: it continues at `logStartOffset`, which the
   * broker leaves out of such an answer.
   */
  async #continueBehind(error: Error): Promise<Error> {
    if (this.#onLost === "stop")
      return new LostOffsetError(
        "the topic no longer has the records at the group's offset: its retention has deleted them, or it was made anew. Continue with its oldest record by --on-lost earliest, or with new ones by --on-lost latest.",
      )
    const topics = this.topics.current
    const metadata = await this.metadata({ topics })
    const timestamp = ListOffsetTimestamps[this.#onLost === "latest" ? "LATEST" : "EARLIEST"]
    const offsets = await this.listOffsets({ topics, timestamp })
    for (const { topicId, partition } of lostIn(error)) {
      const topic = topics.find((name) => metadata.topics.get(name)?.id === topicId) ?? ""
      const offset = offsets.get(topic)?.[partition.partitionIndex]
      if (offset === undefined) continue
      partition.logStartOffset = offset
      this.#tell(
        `${topic}/${partition.partitionIndex} no longer has the records at the group's offset. Reading continues at offset ${offset}.`,
      )
    }
    return error
  }
}

const OFFSET_OUT_OF_RANGE = 1

/** The partitions of an answer whose offset the topic does not have. */
function lostIn(error: Error): { topicId: string; partition: FetchedPartition }[] {
  const { response } = error as { response?: FetchResponse }
  return (response?.responses ?? []).flatMap(({ topicId, partitions }) =>
    partitions
      .filter(({ errorCode }) => errorCode === OFFSET_OUT_OF_RANGE)
      .map((partition) => ({ topicId, partition })),
  )
}

/** Bits of a batch's attributes, and the type of a control record that ends an aborted transaction. */
const [TRANSACTIONAL, CONTROL, ABORT] = [0x10, 0x20, 0]

/**
 * Empties the batches of aborted transactions. The batches stay, since the library finds the next offset by
 * them.
 *
 * @see https://github.com/apache/kafka/blob/trunk/clients/src/main/java/org/apache/kafka/clients/consumer/internals/CompletedFetch.java
 */
export function withoutAborted(response: FetchResponse): FetchResponse {
  for (const { partitions } of response.responses)
    for (const partition of partitions)
      if (partition.records && partition.abortedTransactions?.length)
        partition.records = committedOf(partition.records, partition.abortedTransactions)
  return response
}

function committedOf(
  batches: readonly RecordsBatch[],
  aborted: readonly { producerId: bigint; firstOffset: bigint }[],
): RecordsBatch[] {
  const waiting = aborted.toSorted((a, b) => Number(a.firstOffset - b.firstOffset))
  /** Producers whose transaction at this offset was aborted. */
  const aborting = new Set<bigint>()
  return batches.map((batch) => {
    const end = batch.firstOffset + BigInt(batch.lastOffsetDelta)
    while (waiting[0] !== undefined && waiting[0].firstOffset <= end)
      aborting.add(waiting.shift()?.producerId as bigint)
    if (batch.attributes & CONTROL) {
      if (batch.records[0]?.key?.readInt16BE(2) === ABORT) aborting.delete(batch.producerId)
      return batch
    }
    return batch.attributes & TRANSACTIONAL && aborting.has(batch.producerId)
      ? { ...batch, records: [] }
      : batch
  })
}

/**
 * Notes the present end of each topic as the group's offset, unless the group has one there. So `--from
 * latest` skips only what is older than the group, and not a partition that is added later.
 */
export async function beginAtLatest(
  consumer: CommittedConsumer,
  { group, topics, ...options }: { group: string; topics: string[] } & ConstructorParameters<typeof Admin>[0],
): Promise<void> {
  const admin = new Admin(options)
  try {
    const [found] = await admin.listConsumerGroupOffsets({ groups: [group] })
    const known = new Set(
      found?.topics
        .filter(({ partitions }) => partitions.some(({ committedOffset }) => committedOffset >= 0n))
        .map(({ name }) => name),
    )
    const fresh = topics.filter((topic) => !known.has(topic))
    if (fresh.length === 0) return
    const ends = await consumer.listOffsets({ topics: fresh, timestamp: ListOffsetTimestamps.LATEST })
    await admin.alterConsumerGroupOffsets({
      groupId: group,
      topics: fresh.map((name) => ({
        name,
        partitionOffsets: (ends.get(name) ?? []).map((offset, partition) => ({ partition, offset })),
      })),
    })
  } finally {
    await admin.close()
  }
}

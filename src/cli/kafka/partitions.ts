import type { GroupPartitionsAssigner } from "@platformatic/kafka"
import type { CommittedConsumer } from "./consumer.ts"

/**
 * Gives each partition of a topic to one of the members that read the topic, in turn. The library's own
 * assigner (2.12.1) knows only the topics of the group's leader, and gives them to all members: a topic that
 * only another member reads would never be read.
 */
export const assignToReaders: GroupPartitionsAssigner = (_, members, _topics, metadata) => {
  const assigned = [...members.values()].map(({ memberId, topics }) => ({
    memberId,
    topics,
    assignments: new Map<string, { topic: string; partitions: number[] }>(),
  }))
  let turn = 0
  for (const [topic, { partitionsCount }] of metadata.topics) {
    const readers = assigned.filter(({ topics }) => topics?.includes(topic))
    if (readers.length === 0) continue
    for (let partition = 0; partition < partitionsCount; partition++) {
      const reader = readers[turn++ % readers.length]
      const { partitions } = reader?.assignments.get(topic) ?? { partitions: [] }
      reader?.assignments.set(topic, { topic, partitions: [...partitions, partition] })
    }
  }
  return assigned.map(({ memberId, assignments }) => ({ memberId, assignments }))
}

/**
 * How often a consumer looks for partitions that were added; Kafka's own clients do it every 5 minutes. It is
 * longer than the library keeps what it knows of topics (5 s).
 */
const LOOK_EVERY_MS = 8000

/** Returns the number of partitions of each topic, as the brokers know it now. */
export async function countPartitions(
  consumer: CommittedConsumer,
  topics: string[],
): Promise<Map<string, number>> {
  const metadata = await consumer.metadata({ topics, forceUpdate: true })
  return new Map([...metadata.topics].map(([name, { partitionsCount }]) => [name, partitionsCount]))
}

/**
 * Joins the group again when a topic has got more partitions: nobody tells its members.
 *
 * @param options.known the partitions before the consumer joined: one that was added since may be missing
 *   from what it reads
 * @param options.onError receives what ended the group's new round
 * @returns a function that ends it
 */
export function followPartitions(
  consumer: CommittedConsumer,
  options: { known: ReadonlyMap<string, number>; onError: (error: Error) => void },
): () => void {
  let { known } = options
  const topics = [...known.keys()]
  let isLooking = false
  let hasMore = false
  const look = async () => {
    // The brokers may be away; the stream itself reports that.
    const now = await countPartitions(consumer, topics).catch(() => undefined)
    if (!now || !consumer.isActive()) return
    // One look later, when the leader of the group, who may be another process, knows the partitions as well.
    if (hasMore) await consumer.joinGroup({}).catch(options.onError)
    hasMore = topics.some((topic) => (now.get(topic) ?? 0) > (known.get(topic) ?? 0))
    known = now
  }
  const timer = setInterval(() => {
    if (isLooking) return
    isLooking = true
    void look().finally(() => {
      isLooking = false
    })
  }, LOOK_EVERY_MS)
  timer.unref()
  void look()
  return () => clearInterval(timer)
}

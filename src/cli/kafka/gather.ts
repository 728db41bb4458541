import { setTimeout as sleep } from "node:timers/promises"
import type { Message } from "@platformatic/kafka"

/** A batch of many large records must stay below the service's 8 MiB, with room for what JSON adds. */
const MAX_BYTES = 2 * 1024 * 1024

/** Groups messages in the order of arrival: at most `most`, and at most those that arrive within `waitMs`. */
export async function* gathered(
  stream: AsyncIterable<Message>,
  most: number,
  waitMs: number,
): AsyncGenerator<Message[]> {
  const messages = stream[Symbol.asyncIterator]()
  let next = messages.next()
  for (;;) {
    const first = await next
    if (first.done) return
    const batch = [first.value]
    let bytes = sizeOf(first.value)
    const endsAt = performance.now() + waitMs
    next = messages.next()
    while (batch.length < most && bytes < MAX_BYTES) {
      const more = await Promise.race([next, after(endsAt - performance.now())])
      if (more === undefined || more.done) break
      batch.push(more.value)
      bytes += sizeOf(more.value)
      next = messages.next()
    }
    yield batch
  }
}

const sizeOf = ({ key, value }: Message) => (key?.length ?? 0) + (value?.length ?? 0)

const after = (ms: number) => sleep(Math.max(0, ms), undefined, { ref: false })

/**
 * Commits the last offset of each partition. Every record before it must be stored, or be in the failures
 * file.
 */
export async function commitLast(messages: readonly Message[]): Promise<void> {
  const last = new Map(messages.map((message) => [`${message.topic}/${message.partition}`, message]))
  for (const message of last.values()) await message.commit()
}

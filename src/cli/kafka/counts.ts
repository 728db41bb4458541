import type { Message, Offsets } from "@platformatic/kafka"
import type { BatchAnswer } from "../../client/index.ts"

interface Outcome {
  answers: readonly BatchAnswer[]
  failed: number
  skipped: Record<string, number>
}

const count = (number: number) => number.toLocaleString("en-US")

/**
 * Counts what happened to the records. A record that a rebalance delivers again is stored once, and counts as
 * a duplicate.
 */
export class ConsumeCounts {
  #read = 0
  #stored = 0
  #duplicates = 0
  #failed = 0
  readonly #skipped: Record<string, number> = {}
  #lag: number | undefined
  /** The highest offset read of each partition. */
  readonly #highest = new Map<string, bigint>()

  get failed(): number {
    return this.#failed
  }

  add(messages: readonly Message[], { answers, failed, skipped }: Outcome): void {
    for (const { topic, partition, offset } of messages) {
      const name = `${topic}/${partition}`
      if (offset <= (this.#highest.get(name) ?? -1n)) continue
      this.#highest.set(name, offset)
      this.#read++
    }
    for (const { successful_count, results } of answers) {
      const duplicates = results.filter(({ duplicate }) => duplicate).length
      this.#duplicates += duplicates
      this.#stored += successful_count - duplicates
    }
    this.#failed += failed
    for (const [kind, number] of Object.entries(skipped))
      this.#skipped[kind] = (this.#skipped[kind] ?? 0) + number
  }

  /** @param lag records behind, by topic and partition; negative for a partition of another member */
  setLag(lag: Offsets): void {
    const behind = [...lag.values()].flat().filter((offsets) => offsets > 0n)
    this.#lag = Number(behind.reduce((sum, offsets) => sum + offsets, 0n))
  }

  sentence(): string {
    return [
      `${count(this.#read)} read`,
      `${count(this.#stored)} stored`,
      ...(this.#duplicates > 0 ? [`${count(this.#duplicates)} duplicates`] : []),
      `${count(this.#failed)} failed`,
      ...Object.entries(this.#skipped).map(([kind, number]) => `${count(number)} skipped (${kind})`),
      ...(this.#lag === undefined ? [] : [`lag ${count(this.#lag)}`]),
    ].join(", ")
  }
}

import { setTimeout as sleep } from "node:timers/promises"

/** The results of the senders in one phase of a migration. */
export interface Phase {
  name: string
  seconds: number
  batches: number
  statuses: Record<string, number>
  p50Ms: number
  p99Ms: number
  longestMs: number
}

interface Sample {
  status: string
  ms: number
}

/**
 * Senders that run until they are stopped. Each sends a batch of 50 signals, waits for the answer, and sends
 * the next one.
 */
export class Load {
  /** The id of each acknowledged signal by its text, without duplicates. */
  readonly acknowledged = new Map<string, number>()
  readonly phases: Phase[] = []
  /** Signals that failed, and duplicates whose id is not that of the first signal. */
  wrongAnswers = 0
  #samples: Sample[] = []
  #phase: { name: string; startedAt: number } | undefined
  #running: Promise<void>[] = []
  #stopped = false
  readonly #oldKeys: ReadonlyMap<string, number>
  #sent = 0

  /** @param oldKeys the keys of stored signals with their ids; senders send some of these signals again */
  constructor(oldKeys: ReadonlyMap<string, number>) {
    this.#oldKeys = oldKeys
  }

  start(address: () => string, senders: number): void {
    for (let sender = 0; sender < senders; sender++) this.#running.push(this.#send(address))
  }

  /** Starts a phase, and ends the last one. */
  phase(name: string): void {
    const now = performance.now()
    if (this.#phase)
      this.phases.push(summary(this.#phase.name, (now - this.#phase.startedAt) / 1000, this.#samples))
    this.#phase = { name, startedAt: now }
    this.#samples = []
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await Promise.all(this.#running)
    this.phase("after")
  }

  async #send(address: () => string): Promise<void> {
    const keys = [...this.#oldKeys.keys()]
    while (!this.#stopped) {
      const number = this.#sent++
      const signals = Array.from({ length: 50 }, (_, place) => ({
        context_window_id: `conv-${(number * 7 + place) % 1000}`,
        raw_content: `load ${number} ${place}`,
        ...(place % 3 === 0 && {
          dedupe_key: place === 0 ? keys[number % keys.length] : `load ${number} ${place}`,
        }),
      }))
      const transaction = crypto.randomUUID()
      for (;;) {
        const startedAt = performance.now()
        const response = await fetch(`${address()}/api/signals/batch`, {
          method: "POST",
          headers: { "Content-Type": "application/json", "Idempotency-Key": transaction },
          body: JSON.stringify({ signals }),
        }).catch(() => undefined)
        const body = (await response?.json().catch(() => undefined)) as
          | { results?: { index: number; success: boolean; signal_id: number; duplicate?: true }[] }
          | undefined
        this.#samples.push({
          status: String(response?.status ?? "no answer"),
          ms: performance.now() - startedAt,
        })
        if (response?.ok && body?.results) {
          for (const { index, signal_id, duplicate, success } of body.results) {
            const signal = signals[index]
            const first = this.#oldKeys.get(signal?.dedupe_key ?? "")
            if (
              !success ||
              Boolean(duplicate) !== (first !== undefined) ||
              (first ?? signal_id) !== signal_id
            )
              this.wrongAnswers++
            if (!duplicate) this.acknowledged.set(signal?.raw_content ?? "", signal_id)
          }
          break
        }
        if (this.#stopped) break
        await sleep(100)
      }
      await sleep(20)
    }
  }
}

function summary(name: string, seconds: number, samples: readonly Sample[]): Phase {
  const times = samples.map(({ ms }) => ms).sort((one, other) => one - other)
  const at = (share: number) => times[Math.min(times.length - 1, Math.floor(times.length * share))] ?? 0
  const statuses: Record<string, number> = {}
  for (const { status } of samples) statuses[status] = (statuses[status] ?? 0) + 1
  return {
    name,
    seconds,
    batches: samples.length,
    statuses,
    p50Ms: at(0.5),
    p99Ms: at(0.99),
    longestMs: times.at(-1) ?? 0,
  }
}

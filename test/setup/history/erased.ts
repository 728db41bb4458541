import type { SentSignal } from "./lines.ts"
import type { Erasure, History, Write } from "./read.ts"

/** Whether an erasure takes a signal: `must` it be gone, `may` it be gone, or must it stay? */
export type Erased = "must" | "may" | "no"

/** Finds the erasures of a signal by its subjects. */
export class Erasures {
  readonly #bySubject = new Map<string, Erasure[]>()

  constructor({ erasures }: Pick<History, "erasures">) {
    for (const erasure of erasures)
      for (const name of subjectNames(erasure)) {
        const of = this.#bySubject.get(name)
        if (of) of.push(erasure)
        else this.#bySubject.set(name, [erasure])
      }
  }

  /** @param id the signal's id, when it is known */
  of(signal: Pick<SentSignal, "conversation" | "user">, id?: number): Erasure[] {
    if (this.#bySubject.size === 0) return []
    return [
      ...(this.#bySubject.get(`context_window_id ${signal.conversation}`) ?? []),
      ...(signal.user === undefined ? [] : (this.#bySubject.get(`user_id ${signal.user}`) ?? [])),
      ...(id === undefined ? [] : (this.#bySubject.get(`signal_ids ${id}`) ?? [])),
    ]
  }

  outcome(signal: SentSignal, write: Pick<Write, "begunAt" | "answeredAt">, id?: number): Erased {
    let outcome: Erased = "no"
    for (const erasure of this.of(signal, id)) {
      const isAfter = write.begunAt > erasure.answeredAt
      if (isBefore(write, erasure) && erasure.answeredAt < Number.POSITIVE_INFINITY) return "must"
      if (!isAfter || erasure.subject.suppress) outcome = "may"
    }
    return outcome
  }
}

/** Whether the write was acknowledged before the erasure was asked for. */
export const isBefore = (write: Pick<Write, "answeredAt">, erasure: Erasure) =>
  write.answeredAt < erasure.begunAt

function subjectNames({ subject }: Erasure): string[] {
  if (subject.kind === "signal_ids") return [...new Set(subject.ids)].map((id) => `signal_ids ${id}`)
  return [`${subject.kind} ${subject.value}`]
}

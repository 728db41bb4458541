import type { Checkpoint } from "./import/checkpoint.ts"

/** Tells how an import goes: one line that is drawn anew on a terminal, plain lines from time to time otherwise. */
export interface Progress {
  show(checkpoint: Checkpoint, window: number): void
  /** Leaves the terminal as it was found. */
  end(): void
}

const DRAW_EVERY_MS = 100
const LINE_EVERY_MS = 5000

/** @param share how much of the source lies before a position, where that can be told */
export function openProgress(
  out: NodeJS.WriteStream,
  share: ((position: string) => number) | undefined,
  started: Pick<Checkpoint, "read" | "position">,
): Progress {
  const beganAt = Date.now()
  const readBefore = started.read
  const shareAt = (position: string | null) => (position === null ? 0 : Math.min(1, share?.(position) ?? 0))
  const shareBefore = shareAt(started.position)
  let shownAt = 0
  let last: string | undefined
  return {
    show(checkpoint, window) {
      const now = Date.now()
      const seconds = Math.max(0.001, (now - beganAt) / 1000)
      const done = share && (checkpoint.finished ? 1 : shareAt(checkpoint.position))
      const left = done !== undefined && done > shareBefore ? ((1 - done) / (done - shareBefore)) * seconds : undefined
      last = sentence(checkpoint, { rate: (checkpoint.read - readBefore) / seconds, done, left, window })
      if (now - shownAt < (out.isTTY ? DRAW_EVERY_MS : LINE_EVERY_MS)) return
      shownAt = now
      if (out.isTTY) out.write(`\r\u001b[K${bar(done, out.columns ?? 80, last)}`)
      else out.write(`${last}\n`)
    },
    end() {
      if (last === undefined) return
      out.write(out.isTTY ? `\r\u001b[K${last}\n` : "")
    },
  }
}

interface Figures {
  /** Records a second. */
  rate: number
  /** From 0 to 1, and seconds, where they can be told. */
  done: number | undefined
  left: number | undefined
  window: number
}

const count = (number: number) => number.toLocaleString("en-US")

function sentence({ read, stored, failed, skipped }: Checkpoint, { rate, done, left, window }: Figures): string {
  const passedOver = Object.values(skipped).reduce((sum, kind) => sum + kind, 0)
  const parts = [
    ...(done === undefined ? [] : [`${Math.floor(done * 100)} %`]),
    `${count(read)} read`,
    `${count(stored)} stored`,
    ...(failed > 0 ? [`${count(failed)} failed`] : []),
    ...(passedOver > 0 ? [`${count(passedOver)} skipped`] : []),
    `${count(Math.round(rate))}/s`,
    ...(left !== undefined && left > 0 ? [`${duration(left)} left`] : []),
    `${window} at once`,
  ]
  return parts.join(", ")
}

function bar(done: number | undefined, columns: number, text: string): string {
  const room = columns - text.length - 4
  if (done === undefined || room < 10) return text.slice(0, columns - 1)
  const width = Math.min(room, 40)
  const filled = Math.round(done * width)
  return `[${"#".repeat(filled)}${" ".repeat(width - filled)}] ${text}`
}

export function duration(seconds: number): string {
  const whole = Math.ceil(seconds)
  if (whole < 60) return `${whole} s`
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`
}

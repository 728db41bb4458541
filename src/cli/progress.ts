import type { Checkpoint } from "./checkpoint.ts"

/** Tells how an import goes: one line that is drawn anew on a terminal, plain lines from time to time otherwise. */
export interface Progress {
  show(checkpoint: Checkpoint, window: number): void
  /** Leaves the terminal as it was found. */
  end(): void
}

const DRAW_EVERY_MS = 100
const LINE_EVERY_MS = 5000

/** @param total how many records there are, when that is known */
export function openProgress(out: NodeJS.WriteStream, total: number | undefined, started: Pick<Checkpoint, "read">): Progress {
  const beganAt = Date.now()
  const readBefore = started.read
  let shownAt = 0
  let last: string | undefined
  return {
    show(checkpoint, window) {
      const now = Date.now()
      const seconds = Math.max(0.001, (now - beganAt) / 1000)
      const rate = (checkpoint.read - readBefore) / seconds
      last = sentence(checkpoint, { rate, total, window })
      if (now - shownAt < (out.isTTY ? DRAW_EVERY_MS : LINE_EVERY_MS)) return
      shownAt = now
      if (out.isTTY) out.write(`\r\u001b[K${bar(checkpoint.read, total, out.columns ?? 80, last)}`)
      else out.write(`${last}\n`)
    },
    end() {
      if (last === undefined) return
      out.write(out.isTTY ? `\r\u001b[K${last}\n` : "")
    },
  }
}

const count = (number: number) => number.toLocaleString("en-US")

function sentence(
  checkpoint: Checkpoint,
  { rate, total, window }: { rate: number; total: number | undefined; window: number },
): string {
  const { read, stored, failed, skipped } = checkpoint
  const passedOver = Object.values(skipped).reduce((sum, kind) => sum + kind, 0)
  const parts = [
    total === undefined ? `${count(read)} read` : `${count(read)} of ${count(total)}`,
    `${count(stored)} stored`,
    ...(failed > 0 ? [`${count(failed)} failed`] : []),
    ...(passedOver > 0 ? [`${count(passedOver)} skipped`] : []),
    `${count(Math.round(rate))}/s`,
    ...(total !== undefined && rate > 0 && read < total ? [`${duration((total - read) / rate)} left`] : []),
    `${window} at once`,
  ]
  return parts.join(", ")
}

function bar(read: number, total: number | undefined, columns: number, text: string): string {
  const room = columns - text.length - 4
  if (total === undefined || total === 0 || room < 10) return text.slice(0, columns - 1)
  const width = Math.min(room, 40)
  const filled = Math.min(width, Math.round((read / total) * width))
  return `[${"#".repeat(filled)}${" ".repeat(width - filled)}] ${text}`
}

export function duration(seconds: number): string {
  const whole = Math.ceil(seconds)
  if (whole < 60) return `${whole} s`
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`
}

import cliProgress from "cli-progress"

/**
 * A line that shows the progress of a command. A terminal redraws it in place; any other output gets a line
 * every few seconds.
 */
export interface Line {
  /** @param share from 0 to 1, where the total is known; a terminal then shows a bar */
  show(text: string, share?: number | undefined): void
  /** Prints a sentence above the line. */
  print(sentence: string): void
  /** Prints the last text, and restores the terminal. */
  end(): void
}

const DRAW_EVERY_MS = 100
const LINE_EVERY_MS = 5000

export const openLine = (out: NodeJS.WriteStream): Line => (out.isTTY ? drawnLine(out) : printedLine(out))

function printedLine(out: NodeJS.WriteStream): Line {
  let printedAt = Number.NEGATIVE_INFINITY
  let pending: string | undefined
  const print = (text: string) => void out.write(`${text}\n`)
  return {
    show(text) {
      pending = text
      if (performance.now() - printedAt < LINE_EVERY_MS) return
      printedAt = performance.now()
      pending = undefined
      print(text)
    },
    print,
    end() {
      if (pending !== undefined) print(pending)
      pending = undefined
    },
  }
}

function drawnLine(out: NodeJS.WriteStream): Line {
  const bar = new cliProgress.SingleBar({
    stream: out,
    fps: 1000 / DRAW_EVERY_MS,
    hideCursor: true,
    clearOnComplete: true,
    gracefulExit: false,
    format: ({ barsize = 0 }, { progress }, { text = "", hasShare = false }) => {
      const room = Math.min(barsize, (out.columns ?? 80) - text.length - 4)
      if (!hasShare || room < 10) return text.slice(0, (out.columns ?? 80) - 1)
      const filled = Math.round(progress * room)
      return `[${"#".repeat(filled)}${" ".repeat(room - filled)}] ${text}`
    },
  })
  let last: string | undefined
  return {
    show(text, share) {
      if (last === undefined) bar.start(1, share ?? 0, { text, hasShare: share !== undefined })
      last = text
      bar.update(share ?? 0, { text, hasShare: share !== undefined })
    },
    print(sentence) {
      if (last !== undefined) bar.stop()
      last = undefined
      out.write(`${sentence}\n`)
    },
    end() {
      if (last === undefined) return
      bar.stop()
      out.write(`${last}\n`)
      last = undefined
    },
  }
}

/** What the line of an import shows. */
export interface ImportCounts {
  read: number
  stored: number
  failed: number
  skipped: Record<string, number>
  /** The position behind what was read. */
  position: string | null
}

/** The progress of an import. */
export interface Progress {
  show(counts: ImportCounts, limit: number): void
  end(): void
}

/** @param share the part of the source before a position, where it is known */
export function openProgress(
  out: NodeJS.WriteStream,
  share: ((position: string) => number) | undefined,
  started: Pick<ImportCounts, "read" | "position">,
): Progress {
  const beganAt = performance.now()
  const { read: readBefore } = started
  const shareAt = (position: string | null) => (position === null ? 0 : Math.min(1, share?.(position) ?? 0))
  const shareBefore = shareAt(started.position)
  const line = openLine(out)
  return {
    show(counts, limit) {
      const seconds = Math.max(0.001, (performance.now() - beganAt) / 1000)
      const done = share && shareAt(counts.position)
      const left =
        done !== undefined && done > shareBefore ? ((1 - done) / (done - shareBefore)) * seconds : undefined
      line.show(sentence(counts, { rate: (counts.read - readBefore) / seconds, done, left, limit }), done)
    },
    end: line.end,
  }
}

interface Figures {
  /** Records a second. */
  rate: number
  /** The part that is done, from 0 to 1, where it is known. */
  done: number | undefined
  /** Seconds that remain, where they are known. */
  left: number | undefined
  /** Batches that may be in flight. */
  limit: number
}

const count = (number: number) => number.toLocaleString("en-US")

function sentence(
  { read, stored, failed, skipped }: ImportCounts,
  { rate, done, left, limit }: Figures,
): string {
  const skippedCount = Object.values(skipped).reduce((sum, kind) => sum + kind, 0)
  const parts = [
    ...(done === undefined ? [] : [`${Math.floor(done * 100)} %`]),
    `${count(read)} read`,
    `${count(stored)} stored`,
    ...(failed > 0 ? [`${count(failed)} failed`] : []),
    ...(skippedCount > 0 ? [`${count(skippedCount)} skipped`] : []),
    `${count(Math.round(rate))}/s`,
    ...(left !== undefined && left > 0 ? [`${duration(left)} left`] : []),
    `${limit} in flight`,
  ]
  return parts.join(", ")
}

export function duration(seconds: number): string {
  const whole = Math.ceil(seconds)
  if (whole < 60) return `${whole} s`
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`
}

/**
 * Writes a command's result to standard output, and resolves when the pipe has room. It does not resolve
 * after an error: the listener of `runCommandLine` then ends the process.
 */
export const print = (bytes: string | Uint8Array): Promise<void> =>
  new Promise((resolve) => {
    process.stdout.write(bytes, (error) => {
      if (!error) resolve()
    })
  })

export const printLine = (text: string): Promise<void> => print(`${text}\n`)

/** Writes what is shown only now. @returns whether it was written */
export const printOnce = (text: string): Promise<boolean> =>
  new Promise((resolve) => {
    process.stdout.write(`${text}\n`, (error) => resolve(!error))
  })

/** Writes a sentence for the person at the terminal, apart from the result. */
export const say = (sentence: string): void => void process.stderr.write(`${sentence}\n`)

/** A reader looks for new signals this often. A read costs the database some ten buffers. */
export const LOOK_EVERY_MS = 1000

/** Readers of an isolate that may wait at once: as many reads a second. */
export const MAX_WAITING = 32

/** A reader this late has left: the runtime ends a request whose caller left without running any more of it. */
const GONE_AFTER_MS = 11_000

/** When each waiting reader last looked, in milliseconds since the epoch. */
const looks = new Map<symbol, number>()

/** A place among the readers that wait; undefined when all are taken. */
export function takeWaitingPlace(now = Date.now()): { keep(): void; leave(): void } | undefined {
  for (const [reader, lookedAt] of looks) if (lookedAt < now - GONE_AFTER_MS) looks.delete(reader)
  if (looks.size >= MAX_WAITING) return undefined
  const reader = Symbol()
  looks.set(reader, now)
  return {
    keep: () => void looks.set(reader, Date.now()),
    leave: () => void looks.delete(reader),
  }
}

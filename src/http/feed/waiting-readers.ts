import { type ReaderSlot, ReaderSlots } from "../../isolate/reader-slots.ts"

/** The pause between reads of a waiting reader. A read costs the database about ten buffers. */
export const LOOK_EVERY_MS = 1000

/** Readers of an isolate that can wait at once. Each of them reads once a second. */
export const MAX_WAITING = 32

/** Longer than the longest read: a reader renews its slot between two reads. */
const GONE_AFTER_MS = 11_000

const slots = new ReaderSlots({ most: MAX_WAITING, goneAfterMs: GONE_AFTER_MS })

/** Takes one of the slots for waiting readers; undefined when all are taken. */
export const takeWaitingSlot = (now?: number): ReaderSlot | undefined => slots.take(now)

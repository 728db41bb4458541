import { type Place, Places } from "../readers/places.ts"

/** A reader looks for new signals this often. A read costs the database some ten buffers. */
export const LOOK_EVERY_MS = 1000

/** Readers of an isolate that may wait at once: as many reads a second. */
export const MAX_WAITING = 32

/** Longer than a read may take, since a reader says that it is there between two reads. */
const GONE_AFTER_MS = 11_000

const places = new Places({ most: MAX_WAITING, goneAfterMs: GONE_AFTER_MS })

/** A place among the readers that wait; undefined when all are taken. */
export const takeWaitingPlace = (now?: number): Place | undefined => places.take(now)

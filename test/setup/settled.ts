import { setTimeout as sleep } from "node:timers/promises"

/**
 * Returns a number that grows once it has been the same for `quietMs`. A slow machine can only end the wait
 * too early, so what is asserted afterwards must hold then, too.
 */
export async function settled(read: () => number, quietMs = 1000): Promise<number> {
  for (let last = read(); ; ) {
    await sleep(quietMs)
    const next = read()
    if (next === last) return next
    last = next
  }
}

import { vi } from "vitest"

/** Ends only what hangs. */
const TIMEOUT_MS = 90_000

/** Waits until `check` throws nothing, also within a hook, where `expect.poll` does not work. */
export const waitFor = (check: () => unknown): Promise<unknown> =>
  vi.waitFor(check, { timeout: TIMEOUT_MS, interval: 50 })

import type { Address, ShowAgain, View } from "../router.ts"
import { batchesView, batchView } from "./batches.ts"
import { deadLetterView } from "./dead-letter.ts"
import { deadLettersView } from "./dead-letters.ts"
import { lifecycleView } from "./lifecycle.ts"
import { signalView } from "./signal.ts"
import { signalsView } from "./signals.ts"

/** The view of an address; undefined for the overview, which an unknown address shows too. */
export function viewOf({ path, params }: Address, again: ShowAgain): View | undefined {
  const [section = "", id, ...more] = path.split("/")
  if (more.length > 0) return undefined
  const one = id !== undefined && /^[\w-]+$/.test(id) ? id : undefined
  if (section === "signals") return one ? signalView(one) : signalsView(params)
  if (section === "batches") return one ? batchView(one) : batchesView(params)
  if (section === "dead-letters") return one ? deadLetterView(one, again) : deadLettersView(params, again)
  if (section === "storage" && !one) return lifecycleView()
  return undefined
}

import { make } from "../base/dom.ts"
import { link } from "../base/parts.ts"
import { type Address, linkTo, type ShowAgain, type View } from "../base/router.ts"
import { batchesView, batchView } from "./batches.ts"
import { deadLetterView } from "./dead-letter.ts"
import { deadLettersView } from "./dead-letters.ts"
import { keysView } from "./keys.ts"
import { lifecycleView } from "./lifecycle.ts"
import { signalView } from "./signal.ts"
import { signalsView } from "./signals.ts"
import { subscriptionsView } from "./subscriptions.ts"

const unknownView = (path: string): View => ({
  title: "No such page",
  build: async () => [
    make("p", {}, `The dashboard has no page “${path}”. `, link(linkTo(""), "Go to the overview")),
  ],
})

/** The view of an address; undefined for the overview. */
export function viewOf({ path, params }: Address, again: ShowAgain): View | undefined {
  const [section = "", id, ...more] = path.split("/")
  if (path === "") return undefined
  if (more.length > 0) return unknownView(path)
  const record = id !== undefined && /^[\w-]+$/.test(id) ? id : undefined
  if (section === "signals") return record ? signalView(record) : signalsView(params)
  if (section === "batches") return record ? batchView(record) : batchesView(params)
  if (section === "dead-letters")
    return record ? deadLetterView(record, again) : deadLettersView(params, again)
  if (section === "keys" && !record) return keysView(params, again)
  if (section === "subscriptions" && !record) return subscriptionsView(again)
  if (section === "storage" && !record) return lifecycleView()
  return unknownView(path)
}

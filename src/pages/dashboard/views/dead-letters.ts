import type { ListedDeadLetter } from "../../../signals/responses.ts"
import { type BulkReplayAnswer, type DeadLetterPage, get, send } from "../base/api.ts"
import { make } from "../base/dom.ts"
import { count } from "../base/format.ts"
import { action, link, pageLinks, timeLink } from "../base/parts.ts"
import { linkTo, type ShowAgain, type View } from "../base/router.ts"
import { table } from "../base/table.ts"

const STATES = ["waiting", "replayed", "discarded"] as const

/** The dead letters of a state, newest first, and what can be done with all that are waiting. */
export const deadLettersView = (params: URLSearchParams, again: ShowAgain): View => ({
  title: "Dead letters",
  async build(cancelled) {
    const query = new URLSearchParams({ limit: "50", ...Object.fromEntries(params) })
    const page = await get<DeadLetterPage>(`/api/dead-letters?${query}`, cancelled)
    // Those of a batch are listed in every state.
    const ofBatch = params.get("transaction_id")
    const panel = make("section", { class: "card" })
    table<ListedDeadLetter>(panel, {
      label: "Dead letters",
      none: emptySentence(params),
      hook: (deadLetter) => ["data-dead-letter", String(deadLetter.id)],
      columns: [
        {
          title: "Time",
          cell: ({ id, created_at }) =>
            timeLink(linkTo(`dead-letters/${id}`), created_at, `dead letter ${id}`),
        },
        ...(ofBatch === null
          ? []
          : [{ title: "State", cell: (deadLetter: ListedDeadLetter) => deadLetter.state }]),
        { title: "Source", cell: (deadLetter) => deadLetter.source },
        { title: "Caller", cell: (deadLetter) => make("span", { class: "name" }, deadLetter.caller) },
        { title: "Code", cell: (deadLetter) => deadLetter.code },
        { title: "Reason", cell: (deadLetter) => make("span", { class: "sentence" }, deadLetter.reason) },
      ],
    }).show(page.dead_letters)
    const pages = pageLinks("dead-letters", params, page.next_cursor)
    if (ofBatch !== null) return [states(undefined), panel, pages]
    const state = params.get("state") ?? "waiting"
    const hasMore = page.next_cursor !== null || params.has("cursor")
    const waiting =
      state === "waiting" && page.dead_letters.length > 0
        ? actions(page.dead_letters, { hasMore, again })
        : []
    return [states(state), ...waiting, panel, pages]
  },
})

/** Explains an empty list, and what it would contain. */
function emptySentence(params: URLSearchParams): string {
  if (params.has("transaction_id")) return "This batch has no dead letters."
  const state = params.get("state") ?? "waiting"
  if (state !== "waiting") return `No dead letter is ${state}.`
  return "No dead letter is waiting. A webhook's record that cannot become a signal appears here."
}

function states(shown: string | undefined): HTMLElement {
  const links = STATES.map((state) => {
    const one = link(linkTo("dead-letters", { state }), state)
    if (state === shown) one.setAttribute("aria-current", "true")
    return one
  })
  return make("nav", { class: "tabs", "aria-label": "State" }, ...links)
}

/** @param options.hasMore more are waiting than are listed */
function actions(
  listed: readonly ListedDeadLetter[],
  { hasMore, again }: { hasMore: boolean; again: ShowAgain },
): Node[] {
  const replay = action("Replay all waiting", async (say) => {
    if (!confirm("Replay every waiting dead letter?")) return
    again(await replayAll(say))
  })
  const discard = action(`Discard these ${listed.length}`, async (say) => {
    if (
      !confirm(
        `Discard the ${listed.length} dead letters of this page? They stay listed as discarded, and can still be replayed.`,
      )
    )
      return
    await discardEach(listed, (done) => say(`${done} of ${listed.length} discarded`))
    again(`${listed.length} discarded`)
  })
  if (!hasMore) return [make("p", { class: "actions" }, replay, discard)]
  const discardAll = action("Discard all waiting", async (say) => {
    if (
      !confirm("Discard every waiting dead letter? They stay listed as discarded, and can still be replayed.")
    )
      return
    const discarded = await discardWaiting((done) => say(`${count(done)} discarded`))
    again(`${count(discarded)} discarded`)
  })
  return [make("p", { class: "actions" }, replay, discard, discardAll)]
}

/** Calls of the service that run at once. */
const AT_ONCE = 4

async function discardEach(
  deadLetters: readonly Pick<ListedDeadLetter, "id">[],
  say: (done: number) => void,
): Promise<void> {
  const waiting = deadLetters.values()
  let done = 0
  const work = async () => {
    for (const { id } of waiting) {
      await send("DELETE", `/api/dead-letters/${id}`, new AbortController().signal)
      say(++done)
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, work))
}

/**
 * Starts with the newest, so that dead letters that arrive meanwhile stay: nobody has seen them.
 *
 * @returns how many it discarded
 */
async function discardWaiting(say: (done: number) => void): Promise<number> {
  let before = 0
  let cursor: string | null = ""
  while (cursor !== null) {
    const query = new URLSearchParams({ state: "waiting", limit: "500", ...(cursor && { cursor }) })
    const page: DeadLetterPage = await get(`/api/dead-letters?${query}`, new AbortController().signal)
    const discardedBefore = before
    await discardEach(page.dead_letters, (done) => say(discardedBefore + done))
    before += page.dead_letters.length
    cursor = page.next_cursor
  }
  return before
}

/** Calls the service until no page is left; each call replays up to 500. */
async function replayAll(say: (sentence: string) => void): Promise<string> {
  let replayed = 0
  let failed = 0
  let cursor: string | null = ""
  while (cursor !== null) {
    const query = new URLSearchParams({ state: "waiting", ...(cursor && { cursor }) })
    const answer: BulkReplayAnswer = await send(
      "POST",
      `/api/dead-letters/replay?${query}`,
      new AbortController().signal,
    )
    replayed += answer.replayed_count
    failed += answer.failed_count
    cursor = answer.next_cursor
    say(`${count(replayed)} replayed, ${count(failed)} failed again`)
  }
  return `${count(replayed)} replayed, ${count(failed)} failed again`
}

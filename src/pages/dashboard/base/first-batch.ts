import { announce, find, make } from "./dom.ts"
import { storedKey } from "./key.ts"

/** A first batch as a command. Without the key itself: people paste this into chats. */
function firstCurl(): string {
  return [
    `curl -X POST ${location.origin}/api/signals/batch`,
    ...(storedKey() === null ? [] : ['  -H "Authorization: Bearer $API_KEY"']),
    '  -H "Content-Type: application/json"',
    `  -d '{"signals": [{"context_window_id": "conv-123", "raw_content": "Hello", "signal_score": 0.85}]}'`,
  ].join(" \\\n")
}

/** The content of an empty table: how to send a first batch, with a button that copies the command. */
export function firstBatch(
  title: string,
  next = "Send a first batch with this command in a terminal, then refresh.",
  heading: "h2" | "h3" = "h3",
): HTMLElement {
  const button = make("button", { type: "button", class: "main", "data-copy-curl": "" }, "Copy")
  button.addEventListener("click", async () => {
    const copied = await navigator.clipboard.writeText(firstCurl()).then(
      () => true,
      () => false,
    )
    button.textContent = copied ? "Copied" : "Copying is not allowed here: select the text"
    announce(button.textContent)
    setTimeout(() => {
      button.textContent = "Copy"
    }, 3000)
  })
  return make(
    "section",
    { class: "card first", "data-empty-state": "" },
    make(heading, {}, title),
    make("p", {}, next),
    make("pre", {}, make("code", { "data-first-curl": "" }, firstCurl())),
    button,
  )
}

/** Shows the first batch in place of the overview's lists while the table is empty. */
export function showEmptyOverview(isEmpty: boolean): void {
  const container = find("[data-first]")
  if (isEmpty && container.hidden)
    container.replaceChildren(
      // The first heading below that of the page.
      firstBatch(
        "Nothing has been stored yet",
        "Send a first batch. It appears here within five seconds.",
        "h2",
      ),
    )
  container.hidden = !isEmpty
  find("[data-lists]").hidden = isEmpty
  find("[data-content]").dataset.empty = String(isEmpty)
}

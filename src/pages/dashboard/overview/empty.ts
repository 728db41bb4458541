import { announce, find } from "../dom.ts"
import { storedKey } from "../key.ts"

/** Without the key itself: people paste this into chats. */
function firstCurl(): string {
  return [
    `curl -X POST ${location.origin}/api/signals/batch`,
    ...(storedKey() === null ? [] : ['  -H "Authorization: Bearer $API_KEY"']),
    '  -H "Content-Type: application/json"',
    `  -d '{"signals": [{"context_window_id": "conv-123", "raw_content": "Hello", "signal_score": 0.85}]}'`,
  ].join(" \\\n")
}

/** Shows the first curl in place of the lists while the table is empty. */
export function showEmptyState(empty: boolean): void {
  find("[data-empty-state]").hidden = !empty
  find("[data-lists]").hidden = empty
  find("[data-content]").dataset.empty = String(empty)
  if (empty) find("[data-first-curl]").textContent = firstCurl()
}

export function watchCopy(): void {
  const button = find<HTMLButtonElement>("[data-copy-curl]")
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
}

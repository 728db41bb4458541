import { setTimeout as sleep } from "node:timers/promises"

const SOURCES = ["Slack", "Axis", "M", "Neo", "person"]
const TEXTS = [
  "Ready to sync",
  "Let's go",
  "The build is green again",
  "Who has the pager this week?",
  "I am not sure this is going well",
  "Shipping it now \u{1F680}",
]

const pick = <T>(items: readonly T[]): T => items[Math.floor(Math.random() * items.length)] as T

/** About one signal in forty breaks a rule, so that failures are visible too. */
function demoSignal() {
  const channel = pick(["engineering", "support", "standup"])
  return {
    context_window_id: `team-${channel}`,
    raw_content: pick(TEXTS),
    signal_source: pick(SOURCES),
    signal_score: Math.random() < 0.025 ? 1.5 : Math.round(Math.random() * 100) / 100,
    emotional_tone: Math.round(Math.random() * 100) / 100,
    user_id: `U${Math.floor(Math.random() * 20)}`,
    payload: { channel: `#${channel}` },
  }
}

/**
 * Sends a small batch about once a second, until the signal aborts. `apiKey` is empty where access is open.
 */
export async function runDemo(address: string, apiKey: string, signal: AbortSignal): Promise<void> {
  const headers = {
    "Content-Type": "application/json",
    ...(apiKey !== "" && { Authorization: `Bearer ${apiKey}` }),
  }
  while (!signal.aborted) {
    const signals = Array.from({ length: 1 + Math.floor(Math.random() * 12) }, demoSignal)
    await fetch(`${address}/api/signals/batch`, {
      method: "POST",
      headers,
      body: JSON.stringify({ signals }),
      signal,
    }).catch(() => {})
    await sleep(500 + Math.random() * 1000, undefined, { signal }).catch(() => {})
  }
}

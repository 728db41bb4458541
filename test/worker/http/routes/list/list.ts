import { expect } from "vitest"
import type { StoredSignal } from "../../../../../src/signals/responses.ts"
import { send } from "../../../service.ts"

interface Page {
  signals: StoredSignal[]
  next_cursor: string | null
}

/** A page of the list. */
export async function list(filter: Record<string, string | number>): Promise<Page> {
  const response = await send(
    `/api/signals?${new URLSearchParams(Object.entries(filter).map(([name, value]) => [name, `${value}`]))}`,
  )
  const answer = await response.json()
  expect([response.status, answer]).toEqual([200, answer])
  return answer as Page
}

/** All pages of a list: how many, and the contents of their signals. */
export async function listAll(
  filter: Record<string, string | number>,
): Promise<{ pages: number; contents: (string | null)[] }> {
  const contents: (string | null)[] = []
  let pages = 0
  for (let cursor: string | null = ""; cursor !== null; pages++) {
    const page = await list(cursor ? { ...filter, cursor } : filter)
    contents.push(...page.signals.map(({ raw_content }) => raw_content))
    cursor = page.next_cursor
  }
  return { pages, contents }
}

import { describe, expect, it } from "vitest"
import { tasksOf } from "../../../src/consumer/tasks.ts"
import { cutIntoChunks } from "../../../src/ingest/chunks.ts"
import { bodyOf, delivery, playedMessage } from "./messages.ts"

const items = (count: number, bytes: number, rows: number) =>
  Array.from({ length: count }, (_, item) => ({ item, bytes, rows }))

describe("the work of one statement", () => {
  it("is at most 2 MB and 2,000 rows, or one item", () => {
    expect(cutIntoChunks(items(5, 1024 * 1024, 1)).map((chunk) => chunk.length)).toEqual([2, 2, 1])
    expect(cutIntoChunks(items(5, 1, 1000)).map((chunk) => chunk.length)).toEqual([2, 2, 1])
    expect(cutIntoChunks(items(2, 9 * 1024 * 1024, 9000))).toEqual([[0], [1]])
    expect(cutIntoChunks([])).toEqual([])
  })

  it("is 100 messages of one event each, and one message from its third attempt on, after all others", () => {
    const body = bodyOf(delivery([{ context_window_id: "c" }]))
    const attempts = [...Array.from({ length: 98 }, () => 1), 40, 3]
    const tasks = tasksOf(
      attempts.map((attempt) => playedMessage(body, attempt)),
      undefined,
    )
    expect(tasks.map(({ messages }) => messages.map((message) => message.attempts))).toEqual([
      attempts.slice(0, 98),
      [3],
      [40],
    ])
  })
})

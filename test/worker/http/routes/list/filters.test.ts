import { beforeAll, describe, expect, it } from "vitest"
import { MAX_TRIED, MAX_TRIED_IN_INDEX } from "../../../../../src/store/signals/search.ts"
import { freshConversation, postBatch, query, send } from "../../../service.ts"
import { list, listAll } from "./list.ts"

describe("a list of signals with filters", () => {
  const conversation = freshConversation()
  const user_id = `user of ${conversation}`
  const agent_id = `agent of ${conversation}`

  beforeAll(async () => {
    const at = (minute: number) => `2026-01-01T00:0${minute}:00Z`
    const signals = [
      { raw_content: "0", timestamp: at(0), signal_score: 0.1, user_id, signal_source: "slack" },
      { raw_content: "1", timestamp: at(1), signal_score: 0.5, user_id, agent_id },
      {
        raw_content: "2",
        timestamp: at(2),
        signal_score: 0.9,
        user_id,
        escalate_flag: 1,
        signal_source: "slack",
      },
      { raw_content: "3", timestamp: at(3), signal_score: 1, agent_id, escalate_flag: 1 },
      { raw_content: "4", timestamp: at(4), signal_score: 0.5 },
    ].map((signal) => ({ ...signal, context_window_id: conversation }))
    expect((await postBatch({ signals, fail_on_error: true })).status).toBe(200)
  })

  it.each<[name: string, filter: Record<string, string | number>, expected: string[]]>([
    ["a user", { user_id }, ["2", "1", "0"]],
    ["an agent", { agent_id }, ["3", "1"]],
    ["a user and an agent", { user_id, agent_id }, ["1"]],
    ["a user that no signal has", { user_id: "nobody" }, []],
    ["escalated ones", { escalate_flag: 1, user_id }, ["2"]],
    ["those that are not escalated", { escalate_flag: 0, context_window_id: conversation }, ["4", "1", "0"]],
    ["a lowest score, which is included", { min_score: 0.5, user_id }, ["2", "1"]],
    [
      "a highest score, which is included",
      { max_score: 0.5, context_window_id: conversation },
      ["4", "1", "0"],
    ],
    [
      "a range of scores",
      { min_score: 0.5, max_score: ".9", context_window_id: conversation },
      ["4", "2", "1"],
    ],
    ["a conversation and a source", { context_window_id: conversation, signal_source: "slack" }, ["2", "0"]],
    ["a source and a user", { signal_source: "slack", user_id, limit: 1 }, ["2", "0"]],
    [
      "everything",
      {
        context_window_id: conversation,
        signal_source: "slack",
        user_id,
        escalate_flag: 1,
        min_score: 0.9,
        max_score: "9e-1",
        since: "2026-01-01T00:02:00Z",
        until: "2026-01-01T00:03:00Z",
      },
      ["2"],
    ],
  ])("has %s", async (_, filter, expected) => {
    expect(
      (await listAll({ since: "2026-01-01T00:00:00Z", until: "2026-01-01T00:05:00Z", ...filter })).contents,
    ).toEqual(expected)
  })

  it.each([
    ["min_score", "high", "float_parsing"],
    ["min_score", "NaN", "float_parsing"],
    ["max_score", "1.5", "less_than_equal"],
    ["min_score", "-0.1", "greater_than_equal"],
    ["escalate_flag", "2", "less_than_equal"],
    ["escalate_flag", "yes", "int_parsing"],
    ["user_id", "\u0000", "value_error"],
  ])("refuses %s=%s", async (name, value, type) => {
    const response = await send(`/api/signals?${new URLSearchParams({ [name]: value })}`)
    expect([response.status, await response.json()]).toEqual([
      422,
      { detail: [expect.objectContaining({ type, loc: ["query", name] })], code: "invalid_request" },
    ])
  })
})

describe("a list whose filters leave few of many signals", () => {
  const conversation = freshConversation()

  /**
   * Signals a second apart, the first the oldest; those whose number `rare` divides have another source and
   * user.
   */
  async function fill(context: string, count: number, rare: number) {
    await query(
      `insert into signals (time, transaction_id, context_window_id, signal_source, signal_score, escalate_flag, raw_content, user_id)
       select '2001-01-01T00:00:00Z'::timestamptz + n * interval '1 second', gen_random_uuid(), $1::text,
         case when n % $3::int4 = 0 then 'rare' else 'common' end, 0.5, 0, n::text, case when n % $3::int4 = 0 then $1::text end
       from generate_series(1, $2::int4) as n`,
      [context, count, rare],
    )
  }

  it("tests a bounded number for each page, and its cursor continues until every signal was tested", async () => {
    await fill(conversation, 2 * MAX_TRIED + 10, MAX_TRIED)
    const filter = { context_window_id: conversation, user_id: conversation, limit: 10 }
    const first = await list({ ...filter, max_score: 0.4 })
    expect([first.signals, first.next_cursor]).toEqual([[], expect.any(String)])
    expect(await listAll({ ...filter, max_score: 0.4 })).toEqual({ pages: 3, contents: [] })
    expect(await listAll(filter)).toEqual({ pages: 3, contents: [`${2 * MAX_TRIED}`, `${MAX_TRIED}`] })
    expect(await listAll({ ...filter, limit: 1 })).toEqual({
      pages: 3,
      contents: [`${2 * MAX_TRIED}`, `${MAX_TRIED}`],
    })
  })

  it("ends with a cursor of null when the last tested signal is the last of all", async () => {
    const exact = freshConversation()
    await fill(exact, MAX_TRIED, MAX_TRIED)
    expect((await listAll({ context_window_id: exact, user_id: exact })).contents).toEqual([`${MAX_TRIED}`])
    expect(await listAll({ context_window_id: exact, user_id: "nobody" })).toEqual({ pages: 2, contents: [] })
  })

  it("finds a conversation's signals of a source among more signals than it may read", async () => {
    const large = freshConversation()
    await fill(large, MAX_TRIED_IN_INDEX, MAX_TRIED_IN_INDEX - 1)
    const page = await list({ context_window_id: large, signal_source: "rare", limit: 1 })
    expect(page.signals.map(({ raw_content }) => raw_content)).toEqual([`${MAX_TRIED_IN_INDEX - 1}`])
  })
})

import { describe, expect, it } from "vitest"
import { storedNumbers, upTo, useEmptyTables, useFolder, useRig } from "../../../../setup/hooks/rig.ts"
import { run } from "../../import/importer.ts"

const rig = useRig()
const folder = useFolder()
useEmptyTables(rig)

const signals = (...args: string[]) => run(folder.path, args, { SIGNAL_INGEST_URL: rig.service.address })

describe("signals import sql", () => {
  it("stores every row to the microsecond and the last digit", async () => {
    await rig.query(
      "create table messages as select n as number, 'conv-' || n % 3 as room, n::text as body, '2026-01-01 00:00:00.000001+00'::timestamptz + n * interval '1 second' as sent_at, 12345678901234567890.1::numeric as big, jsonb_build_object('n', 12345678901234567890) as payload from generate_series(0, 2499) as n",
    )
    const query = "select room, body, sent_at, big, payload from messages order by number"
    const args = [
      "--from",
      rig.postgres.url,
      "--query",
      query,
      "--map",
      "room=context_window_id",
      "--map",
      "body=raw_content",
      "--map",
      "sent_at=timestamp",
    ]
    expect(await signals("import", "sql", ...args)).toMatchObject({
      code: 0,
      out: "Imported: 2500 read, 2500 stored, 0 failed.\nStored in the payload, because a signal has no such field: big.\n",
    })
    expect(await storedNumbers(rig)).toEqual(upTo(2500))
    const [row] = await rig.query("select time::text, payload::text from signals where raw_content = '7'")
    expect(row).toEqual({
      time: expect.stringContaining("2026-01-01 00:00:07.000001"),
      payload: '{"n": 12345678901234567890, "big": 12345678901234567890.1}',
    })
    expect(await signals("verify", "sql", ...args)).toMatchObject({ code: 0 })
    await rig.query("delete from signals where raw_content = '7'")
    expect(await signals("verify", "sql", ...args)).toMatchObject({
      code: 1,
      out: expect.stringMatching(/^conv-1: 833 in the source, 832 in the service$/m),
    })
    await rig.query("drop table messages")
  })

  it("fails only the row whose payload nests too deeply to be written again", async () => {
    const deep = "repeat('[', 5000) || repeat(']', 5000)"
    const query = `select 'c' as context_window_id, (${deep})::json as payload union all select 'c', '{}'`
    const args = ["--from", rig.postgres.url, "--query", query, "--failures", "failed.jsonl"]
    expect(await signals("import", "sql", ...args)).toMatchObject({
      code: 1,
      out: expect.stringContaining("2 read, 1 stored, 1 failed"),
    })
  })

  it("stores integer and boolean keys as text, NaN and Infinity in the payload as text, and leaves out NULL", async () => {
    const query =
      "select 7 as context_window_id, true as agent_id, 42 as user_id, '' as raw_content, null as signal_source, 1 as signal_score, true as escalate_flag, 'NaN'::float8 as nan, '-Infinity'::float8 as low, 1.5::float8 as plain, null as nothing"
    expect(await signals("import", "sql", "--from", rig.postgres.url, "--query", query)).toMatchObject({
      code: 0,
    })
    expect(
      await rig.query(
        "select context_window_id, agent_id, user_id, raw_content, signal_source, signal_score, escalate_flag, payload from signals",
      ),
    ).toEqual([
      {
        context_window_id: "7",
        agent_id: "true",
        user_id: "42",
        raw_content: "",
        signal_source: "unknown",
        signal_score: 1,
        escalate_flag: 1,
        payload: { nan: "NaN", low: "-Infinity", plain: 1.5 },
      },
    ])
  })

  it("explains an error of the query or the database", async () => {
    expect(
      await signals("import", "sql", "--from", rig.postgres.url, "--query", "select nothing from nowhere"),
    ).toMatchObject({
      code: 2,
      err: expect.stringContaining('relation "nowhere" does not exist'),
    })
    expect(
      await signals("import", "sql", "--from", "postgres://postgres:x@127.0.0.1:9/x", "--query", "select 1"),
    ).toMatchObject({
      code: 2,
      err: expect.stringContaining("cannot be reached"),
    })
  })
})

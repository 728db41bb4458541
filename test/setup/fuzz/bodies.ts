import fc from "fast-check"
import { json, jsonText, linesOf, listOf, mostly, name, numberText, shaped, text } from "./values.ts"

/**
 * What the service and its senders write to each other, as JSON text: mostly right, here and there hostile.
 */
const textValue = text.map((value) => JSON.stringify(value))
const someText = json("a", "hello", "", null, "Ü 東京 😀")

const payload = shaped(
  {},
  { a: jsonText, thread: numberText, tags: listOf(textValue), edited: shaped({ ts: json("1.5") }) },
)

export const signal = shaped(
  { context_window_id: mostly(json("conv-1", "conv-2", "fuzz")) },
  {
    timestamp: mostly(
      json("2025-01-15T09:30:00Z", "2025-01-15", 1736933400, 1736933400000.5),
      textValue,
      numberText,
    ),
    raw_content: mostly(someText, textValue),
    signal_source: mostly(json("slack", "api", null), textValue),
    signal_score: mostly(json(0, 0.5, 1, null), numberText),
    emotional_tone: mostly(json(0.25), numberText),
    escalate_flag: mostly(json(0, 1), numberText),
    agent_id: mostly(someText, textValue),
    user_id: mostly(someText, textValue),
    payload: mostly(payload),
    dedupe_key: mostly(json("k-1", "k-2", "slack:T1/C1/1.1"), textValue),
  },
)

export const batch = shaped(
  { signals: mostly(listOf(signal)) },
  { fail_on_error: mostly(json(true, false, null)) },
)

export const ndjson = linesOf(mostly(signal))

export const erasure = shaped(
  {},
  {
    user_id: mostly(json("nobody-1", null), textValue),
    context_window_id: mostly(json("nobody-2", null)),
    signal_ids: mostly(listOf(numberText)),
    suppress: mostly(json(true, false, null)),
  },
)

/** A time of Slack's. */
const ts = mostly(json("1355517523.000005", "1767225600.000100"), textValue)

export const slackMessage = shaped(
  { type: json("message"), ts, user: mostly(json("U1", "U2")), text: mostly(someText, textValue) },
  {
    channel: mostly(json("C1", "C2")),
    team: mostly(json("T1")),
    subtype: mostly(
      json("bot_message", "message_changed", "message_deleted", "tombstone", "channel_join", null),
    ),
    hidden: mostly(json(true, false)),
    bot_id: mostly(json("B1")),
    edited: shaped({ ts }),
    deleted_ts: ts,
    event_ts: ts,
    message: shaped(
      { type: json("message"), ts, text: someText },
      { subtype: json("tombstone"), edited: shaped({ ts }) },
    ),
    slackdump_thread_replies: listOf(jsonText),
  },
)

export const slackEvent = shaped(
  {
    type: mostly(json("event_callback", "event_callback", "url_verification", "app_rate_limited")),
    event: mostly(slackMessage),
  },
  {
    team_id: mostly(json("T1", "T2")),
    event_id: mostly(json("Ev1")),
    event_time: numberText,
    challenge: mostly(textValue),
    token: textValue,
  },
)

/** A header of a record, or anything that is named and has a value. */
const named = shaped({ value: mostly(textValue) }, { key: mostly(textValue), name: mostly(textValue) })

const recordValue = mostly(
  signal,
  payload,
  shaped({ text: mostly(textValue) }, { message: jsonText }),
  listOf(named),
  shaped({ payload: jsonText, schema: jsonText }),
  shaped(
    { op: json("c", "d", "t"), source: shaped({ connector: json("postgresql") }) },
    { before: jsonText, after: mostly(payload) },
  ),
  json(null, "aGVsbG8=", "AAAAAAE=", "eyJhIjoxfQ=="),
)

const kafkaRecord = shaped(
  { value: recordValue },
  {
    key: mostly(json("conv-1", "Y29udi0x"), textValue, numberText),
    topic: mostly(json("chat"), textValue),
    partition: mostly(json(0, "1"), numberText),
    offset: mostly(json(7, "8"), numberText),
    timestamp: mostly(json(1736933400000, -1, "2025-01-15T09:30:00Z"), numberText),
    headers: mostly(listOf(named), shaped({}, { trace: textValue })),
    payload: recordValue,
  },
)

const cloudEvent = shaped(
  {
    specversion: mostly(json("1.0")),
    id: mostly(json("1"), textValue),
    source: mostly(json("/chat"), textValue),
    type: mostly(json("chat.message", "io.debezium.connector.postgresql.DataChangeEvent"), textValue),
  },
  {
    subject: mostly(json("conv-1", "partition:1#2"), textValue),
    time: mostly(json("2025-01-15T09:30:00Z")),
    datacontenttype: mostly(json("application/json", "text/plain")),
    data: recordValue,
    data_base64: mostly(json("eyJhIjoxfQ==", "AAAAAAE="), textValue),
    iodebeziumop: json("c", "d"),
    iodebeziumtable: jsonText,
  },
)

export const kafkaBody = fc.oneof(
  shaped({ records: mostly(listOf(kafkaRecord)) }, { topic: textValue }),
  listOf(fc.oneof(kafkaRecord, cloudEvent)),
  kafkaRecord,
  cloudEvent,
  batch,
  linesOf(fc.oneof(kafkaRecord, cloudEvent, signal)),
  fc.array(kafkaRecord, { maxLength: 4 }).map((records) => records.join("")),
  jsonText,
)

export const KAFKA_TYPES = [
  ..."application/json application/x-ndjson application/cloudevents+json application/cloudevents-batch+json text/plain".split(
    " ",
  ),
  ..."application/vnd.kafka.json.v2+json application/vnd.kafka.binary.v2+json application/stream+json".split(
    " ",
  ),
  "",
]

/** An answer of the service to its client, or a proxy's. */
export const answer = shaped(
  {},
  {
    detail: mostly(
      textValue,
      listOf(shaped({ type: textValue, loc: mostly(listOf(textValue)), msg: textValue })),
    ),
    errors: mostly(listOf(shaped({ index: numberText, error: textValue }))),
    transaction_id: mostly(json("0195f2f4-0000-7000-8000-000000000000")),
    results: listOf(jsonText),
    code: textValue,
  },
)

/** A file of a Slack export that names people or channels. */
export const slackNames = listOf(
  shaped(
    { id: mostly(json("U1", "C1", "D1ABCDE")) },
    {
      name: mostly(json("ann", "general", ""), textValue),
      real_name: textValue,
      team_id: mostly(json("T1")),
      profile: mostly(shaped({ display_name: mostly(json("Ann")) })),
      members: mostly(listOf(mostly(json("U1", "U2")))),
    },
  ),
)

/** A cell of a table. */
export const cell = fc.oneof(text, jsonText, numberText)
export const columnName = fc.oneof(
  {
    weight: 2,
    arbitrary: fc.constantFrom("context_window_id", "raw_content", "payload", "timestamp", "signal_score"),
  },
  { weight: 1, arbitrary: name },
)

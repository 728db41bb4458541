import fc from "fast-check"
import { FieldMapping, mapKafkaRecord, withoutReservedKey } from "../../../src/bridges/kafka/mapping.ts"
import { readKafkaRecords, readKafkaValue } from "../../../src/bridges/kafka/requests.ts"
import { planDelivery } from "../../../src/bridges/plan-delivery.ts"
import { readSlackRequest } from "../../../src/bridges/slack/events.ts"
import { parseJson } from "../../../src/signals/json.ts"
import type { Delivered } from "../../../src/signals/plan.ts"
import { Unreadable } from "../../../src/signals/shape-errors.ts"
import { keepValues } from "../../../src/store/dead-letters/bound-record.ts"
import { KAFKA_TYPES, kafkaBody, slackEvent } from "../../setup/fuzz/bodies.ts"
import { expect, refusing, type Suite, suite } from "../../setup/fuzz/check.ts"
import { edited } from "../../setup/fuzz/mutations.ts"
import { name, text } from "../../setup/fuzz/values.ts"

const NOW = "2026-01-01T00:00:00.000000Z"

/** As the route does with what a bridge has read. */
function accept(records: readonly unknown[], delivered: readonly Delivered[]): void {
  const { plan, skipped } = planDelivery(delivered, NOW)
  const left = Object.values(skipped).reduce((sum, count) => sum + count, 0)
  expect(
    plan.rows.length + plan.failures.length + left === records.length,
    "a record is neither a row, nor kept, nor skipped",
  )
  for (const { payload } of plan.rows) if (payload !== "") JSON.parse(payload)
  const deadLetters = plan.failures.map(({ index, error }) => ({ reason: error, record: records[index] }))
  for (const { record } of keepValues(deadLetters)) JSON.parse(record)
}

/** The default, and one that looks everywhere. */
const MAPPINGS = [
  {},
  {
    conversation: [
      "$headers.name",
      "$headers.__proto__",
      "$value.key",
      "$key",
      "$cloudevent.subject",
      "value.value",
      "toString",
    ],
    text: ["$value.name.value", "message.text", "$headers.value"],
    score: "signal_score",
    tone: "$headers.tone",
    user: ["$headers.user_id", "user_id"],
    time: ["timestamp", "$timestamp"],
    dedupe_key: ["dedupe_key", "$headers.dedupe_key"],
    source: "source",
  },
].map((mapping) => FieldMapping.parse(mapping))

const headers = fc
  .tuple(
    fc.constantFrom(...KAFKA_TYPES),
    fc.option(
      fc.dictionary(fc.constantFrom("ce-id", "ce-source", "ce-type", "ce-subject", "ce-time", "ce-a"), text, {
        maxKeys: 4,
      }),
      {
        freq: 4,
      },
    ),
    fc.option(fc.constantFrom("id-1", "x".repeat(400)), { freq: 4 }),
  )
  .map(([type, binary, webhookId]) => {
    const made = new Headers()
    const set = (key: string, value: string) => made.set(key, value.replace(/[^\x20-\x7e]/g, "?"))
    if (type) set("content-type", type)
    for (const [key, value] of Object.entries(binary ?? {})) set(key, value)
    if (binary) set("ce-specversion", "1.0")
    if (webhookId) set("webhook-id", webhookId)
    return made
  })

export const BRIDGE_SUITES: Record<string, Suite> = {
  slack: suite({
    inputs: fc.record({ sent: edited(slackEvent), followEdits: fc.boolean() }),
    check({ sent, followEdits }) {
      const body = refusing(() => ({ value: parseJson(sent) }), Unreadable)
      const request = body && readSlackRequest(body.value, { followEdits })
      if (request?.type === "event_callback") accept([body?.value], [request.delivered])
    },
  }),
  kafka: suite({
    inputs: fc.record({
      sent: edited(kafkaBody),
      headers,
      mapping: fc.constantFrom(...MAPPINGS),
      cluster: fc.option(text, { nil: undefined }),
    }),
    check({ sent, headers, mapping, cluster }) {
      const records = readKafkaRecords({ headers, text: sent, cluster, maxRecords: 50 })
      if (records === undefined) return
      // Each joined value is read to its first record too many.
      expect(records.length <= 101, "reading went on behind the first record too many")
      accept(
        records,
        records.map((record) => withoutReservedKey(mapKafkaRecord(record, mapping), record)),
      )
    },
  }),
  kafkaValues: suite({
    inputs: fc.record({
      sent: fc.option(edited(kafkaBody)),
      key: text,
      header: name,
      mapping: fc.constantFrom(...MAPPINGS),
    }),
    check({ sent, key, header, mapping }) {
      const position = { topic: "chat", partition: 0, offset: 1, timestamp: 1_736_933_400_000 }
      const record = readKafkaValue(
        { ...position, key, headers: { [header]: key } },
        sent ?? undefined,
        undefined,
      )
      accept([record], [mapKafkaRecord(record, mapping)])
    },
  }),
}

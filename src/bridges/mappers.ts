import { parseJson } from "../signals/json.ts"
import type { Delivered } from "../signals/plan.ts"
import type { WebhookSource } from "../signals/sources.ts"
import { type FieldMapping, mapKafkaRecord, withoutReservedKey } from "./kafka/mapping.ts"
import type { KafkaRecord } from "./kafka/record.ts"
import { mapSlackEvent } from "./slack/events.ts"

/** The present settings by which records are mapped. */
export interface MappingSettings {
  /** The mapping of Kafka records. */
  mapping: FieldMapping
  followSlackEdits: boolean
}

/**
 * Maps the record of a webhook's dead letter, JSON text, as the webhook maps it now. The writer of a record
 * cannot choose a dedupe key of the bridges, whatever the scope of the key that delivered it.
 */
export const MAPPERS: Record<WebhookSource, (record: string, settings: MappingSettings) => Delivered> = {
  slack: (record, { followSlackEdits }) =>
    mapSlackEvent(parseJson(record), { followEdits: followSlackEdits }),
  kafka(record, { mapping }) {
    const value = parseJson(record) as KafkaRecord
    return withoutReservedKey(mapKafkaRecord(value, mapping), value)
  },
}

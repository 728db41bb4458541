import { isFields } from "../../signals/json.ts"
import { type FieldMapping, first } from "./field-mapping.ts"
import { type Fields, type KafkaRecord, textOf } from "./record.ts"

/** The operations that leave no row behind, by Debezium's letter. */
const SKIPPED: Record<string, string> = { d: "debezium_delete", t: "debezium_truncate" }

/**
 * The kind under which a change event of Debezium is skipped: of a deleted row and of a truncated table.
 * Undefined for any other record, and for a deleted row whose conversation the mapping finds in `before`: a
 * mapping with such a path asks for signals of deletions.
 *
 * @see https://debezium.io/documentation/reference/stable/connectors/postgresql.html#postgresql-delete-events
 */
export function skippedChange(record: KafkaRecord, mapping: FieldMapping): string | undefined {
  const kind = SKIPPED[operationOf(record) ?? ""]
  if (kind === undefined) return undefined
  const paths = mapping.conversation.filter((path) => /^(\$value\.)?before\./.test(path))
  return textOf(first({ ...record }, paths)) === undefined ? kind : undefined
}

/**
 * A CloudEvent has the operation as an attribute. An envelope has it beside `source`, which always names the
 * connector.
 */
function operationOf({ value, cloudevent }: KafkaRecord): string | undefined {
  if (cloudevent && isDebezium(cloudevent)) return textOf(cloudevent.iodebeziumop)
  if (!isFields(value) || !isFields(value.source) || typeof value.source.connector !== "string")
    return undefined
  return textOf(value.op)
}

/**
 * What distinguishes changes that share an id, as text; "" for an event that is not Debezium's. The id is a
 * place in the database's log: all rows of a snapshot share one, and with MySQL all rows of a statement.
 *
 * @see
 *   https://github.com/debezium/debezium/blob/main/debezium-connector-postgres/src/main/java/io/debezium/connector/postgresql/converters/PostgresCloudEventsMaker.java
 */
export function changeOf(attributes: Fields, value: unknown): string {
  if (!isDebezium(attributes)) return ""
  const {
    iodebeziumdb: db,
    iodebeziumschema: schema,
    iodebeziumtable: table,
    iodebeziumcollection: collection,
    iodebeziumrow: row,
    iodebeziumop: op,
  } = attributes
  const change =
    isFields(value) && ("before" in value || "after" in value) ? [value.before, value.after] : value
  // MongoDB names a collection instead of a table; the others' names stay as they were before collections
  // were among them.
  return ` ${JSON.stringify([db, schema, table, row, op, change, ...(collection === undefined ? [] : [collection])])}`
}

const isDebezium = ({ type }: Fields) => typeof type === "string" && type.startsWith("io.debezium.")

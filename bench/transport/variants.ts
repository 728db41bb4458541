import { type Shape, storeStatement } from "./statement.ts"
import { WAYS, type Way } from "./ways.ts"

/** The store's statement or tables with one thing changed, to see what that thing costs. */
export interface Variant {
  name: string
  /** Changes a database of its own. */
  ddl?: string
  text?: string
  params?: (params: readonly (string | null)[]) => (string | null)[]
  /** Sent as a named prepared statement, so that it is parsed and planned once. */
  prepared?: boolean
}

export const STORE = WAYS[0] as Way
const SOURCE = STORE.source([])
const PARAMETERS = STORE.params([]).map((_, i) => `$${i + 1}`)
const TIME = 1
const PAYLOAD = 10

const shaped = (shape: Shape) => storeStatement(SOURCE, shape)
export const STATEMENT = shaped({})

const dropIndexes = (...names: string[]) => names.map((name) => `drop index signals_${name}_idx`).join("; ")
const dropChecks = (...names: string[]) => names.map((name) => `alter table signals drop constraint signals_${name}`).join("; ")
const LENGTHS = ["context_window_id", "signal_source", "dedupe_key"]

export const VARIANTS: readonly Variant[] = [
  { name: "as it is" },
  { name: "on conflict (dedupe_key), no row with a key", text: shaped({ onConflict: true }) },
  { name: "ids from RETURNING, joined back", text: shaped({ joinReturned: true }) },
  { name: "without the context index", ddl: dropIndexes("context_window_id_time") },
  { name: "without the time index", ddl: dropIndexes("time") },
  { name: "without the source index", ddl: dropIndexes("signal_source_time") },
  { name: "without the dedupe index", ddl: dropIndexes("dedupe_key") },
  {
    name: "without any secondary index",
    ddl: dropIndexes("context_window_id_time", "time", "signal_source_time", "dedupe_key"),
  },
  {
    name: "without any check",
    ddl: dropChecks(
      ...LENGTHS.map((column) => `${column}_length`),
      ...["signal_score_range", "emotional_tone_range", "escalate_flag_range", "payload_object"],
    ),
  },
  {
    name: "octet_length for char_length",
    ddl: LENGTHS.map(
      (column) => `${dropChecks(`${column}_length`)}; alter table signals add check (octet_length(${column}) between 1 and 1020)`,
    ).join("; "),
  },
  {
    name: "varchar(255) for char_length",
    ddl: LENGTHS.map(
      (column) => `${dropChecks(`${column}_length`)}; alter table signals alter column ${column} type varchar(255)`,
    ).join("; "),
  },
  { name: "no payload at all", params: (params) => params.with(PAYLOAD, "") },
  { name: "parsed and planned once, named statement", prepared: true },
  {
    name: "parsed and planned once, PL/pgSQL function",
    ddl: `create function store_batch(${PARAMETERS.map(() => "text").join(", ")}) returns text language plpgsql as $body$
      declare stored text;
      begin ${STATEMENT.replace(/from ledger$/, "into stored from ledger")}; return stored; end $body$`,
    text: `select store_batch(${PARAMETERS.join(", ")}) as ids`,
  },
  {
    name: "time as epoch microseconds",
    text: STATEMENT.replace("$2::timestamptz[]", "$2::int8[]").replace(
      /(overriding system value\s+select .*?) time,/,
      "$1 to_timestamp(time / 1e6::float8),",
    ),
    params: (params) => params.with(TIME, epochs(params[TIME] ?? "{}")),
  },
  {
    name: "parsing the parameters, storing nothing",
    text: `select count(signal.*)::text as ids from ${SOURCE}`,
  },
]

/** An array literal of ISO times, as one of epoch microseconds. */
function epochs(literal: string): string {
  const times = literal.slice(1, -1).split(",")
  return `{${times.map((time) => Date.parse(time) * 1000 + Number(time.slice(23, 26))).join(",")}}`
}

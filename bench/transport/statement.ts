import { FIELDS } from "./ways.ts"

const names = FIELDS.map(([, column]) => column).join(", ")

/**
 * The store's statement around any FROM item: it reserves ids in batch order, writes the ledger row, stores
 * the signals if that is new, and returns the ids as one text. Postgres makes the transaction id, so that the
 * same statement can be sent again.
 */
export function storeStatement(source: string): string {
  return `
    with input as materialized (
      select nextval('signals_id_seq') as id, signal.* from ${source}
    ), ledger as (
      insert into batches (transaction_id, caller, state, total_count, failed_count, failures, first_signal_id, last_signal_id, signal_ids)
      select gen_random_uuid(), 'bench', 'stored', sum(size), 0, '[]', min(first), max(last), string_agg(first || ':' || size, ',' order by first)
      from (select min(id) as first, max(id) as last, count(*) as size from input group by id - position) as run
      on conflict do nothing
      returning transaction_id
    ), stored as (
      insert into signals (id, transaction_id, ${names}) overriding system value
      select id, transaction_id, ${names} from input cross join ledger
      returning id
    )
    select (select string_agg(id::text, ',' order by position) from input) as ids from ledger`
}

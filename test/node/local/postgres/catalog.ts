import type { Client } from "pg"

/**
 * Describes the schema of a database, one line for each fact, sorted: relations, columns, constraints,
 * indexes, functions, views and privileges. Indexes of partitions have no names, which Postgres chooses.
 */
export async function describeCatalog(client: Client): Promise<string[]> {
  const { rows } = await client.query<{ line: string }>(CATALOG)
  return rows.map(({ line }) => line.replace("FROM (MINVALUE)", "FROM ('0')"))
}

/** The owner has all of them. */
const PRIVILEGES = (acl: string, owner: string) =>
  `(select string_agg(coalesce(rolname, 'public') || ' ' || privilege_type, ', ' order by rolname, privilege_type)
    from aclexplode(${acl}) left join pg_roles on pg_roles.oid = grantee where grantee <> ${owner})`

const CATALOG = `
  with relation as (
    select pg_class.*, oid::regclass::text as name from pg_class
    where relnamespace = current_schema()::regnamespace and relkind in ('r', 'p', 'v', 'S')
  )
  select format('%s is %s, %s %s, %s', name, relkind, pg_get_partkeydef(oid), pg_get_expr(relpartbound, oid),
    ${PRIVILEGES("relacl", "relowner")}) as line from relation
  union all
  select format('%s.%s %s not null %s, default %s, identity %s, %s', name, attname, format_type(atttypid, atttypmod),
    attnotnull, pg_get_expr(adbin, adrelid), attidentity, ${PRIVILEGES("attacl", "relowner")})
  from relation join pg_attribute on attrelid = relation.oid left join pg_attrdef on adrelid = attrelid and adnum = attnum
  where attnum > 0 and not attisdropped
  union all
  select format('%s constraint %s %s validated %s', name, conname, pg_get_constraintdef(pg_constraint.oid), convalidated)
  from relation join pg_constraint on conrelid = relation.oid
  union all
  select format('%s index %s valid %s', name, case
    when relispartition then regexp_replace(pg_get_indexdef(indexrelid), 'INDEX \\S+', 'INDEX') || ' of '
      || (select inhparent::regclass from pg_inherits where inhrelid = indexrelid)
    else pg_get_indexdef(indexrelid) end, indisvalid)
  from relation join pg_index on indrelid = relation.oid
  union all
  select format('%s trigger %s', name, pg_get_triggerdef(pg_trigger.oid)) from relation join pg_trigger on tgrelid = relation.oid
  union all
  select format('sequence %s %s %s', seqrelid::regclass, seqtypid::regtype, seqincrement) from pg_sequence
    join relation on relation.oid = seqrelid
  union all
  select format('view %s %s', name, pg_get_viewdef(oid)) from relation where relkind = 'v'
  union all
  select format('%s %s', pg_get_functiondef(oid), ${PRIVILEGES("proacl", "proowner")}) from pg_proc
  where pronamespace = current_schema()::regnamespace
  order by line`

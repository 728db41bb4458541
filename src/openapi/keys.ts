import { KeyPath, LedgerQuery, UsageQuery } from "../http/request/params.ts"
import {
  keyConflict,
  keyEndInDoubt,
  keyMadeInDoubt,
  keyNotChecked,
  notFound,
  unavailable,
} from "../http/request/problems.ts"
import { KeyLimits, KeyPage, KeyRecord, KeyUsage, MadeKey, NewKey, Rotation } from "../keys/records.ts"
import { TRANSACTION_ID } from "./examples.ts"
import { answer, examplesOf, operation, refusal, unreachable } from "./operation.ts"

const KEY: KeyRecord = {
  id: TRANSACTION_ID,
  name: "importer",
  hint: "si_live_1a2B",
  state: "active",
  scopes: ["ingest", "bridge"],
  created_at: "2025-01-15T09:30:00.123456Z",
  created_by: "root",
  expires_at: null,
  revoked_at: null,
  revoked_by: null,
  rotated_from: null,
  last_used_on: "2025-01-15",
  limits: { signals_per_day: 1_000_000, bytes_per_day: null },
}

const REVOKED: KeyRecord = {
  ...KEY,
  state: "revoked",
  revoked_at: "2025-03-01T08:00:00.000000Z",
  revoked_by: "root",
}

const MADE = { ...KEY, key: "si_live_ and 49 letters and digits" }

const TAG = "Keys"

const LOCATION = { Location: { description: "The key's record.", schema: { type: "string" as const } } }

const CONFLICT = refusal("No key was made.", {
  "name taken": keyConflict("name taken"),
  "too many of this name": keyConflict("too many of this name"),
  "too many": keyConflict("too many keys"),
})

const UNKNOWN = refusal("No key has this id.", { unknown: notFound("No key has this id.") })

const WRONG_ID = [
  { type: "uuid_parsing", loc: ["path", "key_id"], msg: "Input should be a valid UUID", input: "latest" },
]

const AWAY = { unreachable: unavailable(), "key not checked": keyNotChecked() }

export const createKey = operation({
  id: "createKey",
  tag: TAG,
  summary: "Make an API key",
  description:
    "The answer shows the key, and no other answer does: the service stores its SHA-256 only. It is valid at once. A name is a caller, and is never given to another one.",
  scope: "admin",
  body: {
    required: true,
    content: {
      "application/json": {
        schema: NewKey,
        examples: examplesOf({
          "for the importer": { name: "importer", scopes: ["ingest", "bridge"] },
          "for a month": { name: "contractor", scopes: ["read"], expires_at: "2025-02-15T00:00:00Z" },
        }),
      },
    },
  },
  answers: {
    201: answer("Made.", MadeKey, { made: MADE }, LOCATION),
    409: CONFLICT,
    503: unreachable("The database cannot be reached in time.", { ...AWAY, "in doubt": keyMadeInDoubt() }),
  },
  unreadable: {
    scopes: [
      { type: "missing", loc: ["body", "scopes"], msg: "Field required", input: { name: "importer" } },
    ],
  },
})

export const listKeys = operation({
  id: "listKeys",
  tag: TAG,
  summary: "List the keys that were made at run time, newest first",
  description: "Also those that have ended. The keys of `API_KEYS` are not among them.",
  scope: "admin",
  params: { query: LedgerQuery },
  answers: {
    200: answer("One page.", KeyPage, { "last page": { keys: [KEY, REVOKED], next_cursor: null } }),
  },
  unreadable: {
    cursor: [
      {
        type: "uuid_parsing",
        loc: ["query", "cursor"],
        msg: "Input should be a valid UUID",
        input: "latest",
      },
    ],
  },
})

export const getKey = operation({
  id: "getKey",
  tag: TAG,
  summary: "One key: who made it, what it may do, when it ends",
  scope: "admin",
  params: { path: KeyPath },
  answers: { 200: answer("The key's record.", KeyRecord, { active: KEY }), 404: UNKNOWN },
  unreadable: { key_id: WRONG_ID },
})

export const revokeKey = operation({
  id: "revokeKey",
  tag: TAG,
  summary: "Revoke a key",
  description: "It is refused everywhere within 60 seconds. To revoke it again is safe.",
  scope: "admin",
  params: { path: KeyPath },
  answers: {
    200: answer("Revoked.", KeyRecord, { revoked: REVOKED }),
    404: UNKNOWN,
    503: unreachable("The key may be revoked; revoke it again.", { ...AWAY, "in doubt": keyEndInDoubt() }),
  },
  unreadable: { key_id: WRONG_ID },
})

export const limitKey = operation({
  id: "limitKey",
  tag: TAG,
  summary: "Set what the caller of a key may send in a day",
  description:
    "For every key of its name; a limit that is not given is removed. Limits are approximate: isolates count by leases of a hundredth, and learn of a change within 60 seconds. Days are those of UTC.",
  scope: "admin",
  params: { path: KeyPath },
  body: {
    required: true,
    content: {
      "application/json": {
        schema: KeyLimits,
        examples: examplesOf({ "a million signals": { signals_per_day: 1_000_000 }, "no limit": {} }),
      },
    },
  },
  answers: { 200: answer("The key's record.", KeyRecord, { limited: KEY }), 404: UNKNOWN },
  unreadable: { key_id: WRONG_ID },
})

export const getKeyUsage = operation({
  id: "getKeyUsage",
  tag: TAG,
  summary: "What the caller of a key sent, by day",
  description:
    "From the ledger, the newest day first; days without a batch are left out. A batch belongs to the day in UTC on which it was accepted.",
  scope: "admin",
  params: { path: KeyPath, query: UsageQuery },
  answers: {
    200: answer("The days.", KeyUsage, {
      "one day": {
        name: "importer",
        days: [{ day: "2025-01-15", batches: 120, signals: 60_000, failed_signals: 12 }],
      },
    }),
    404: UNKNOWN,
  },
  unreadable: { key_id: WRONG_ID },
})

export const rotateKey = operation({
  id: "rotateKey",
  tag: TAG,
  summary: "Make another key for the same caller",
  description:
    "The new key has the name and the scopes of the former one, which stays valid until it is revoked or `former_expires_at` is over. At most two keys of a name are valid. A key that has ended can be rotated, too.",
  scope: "admin",
  params: { path: KeyPath },
  body: {
    required: true,
    content: {
      "application/json": {
        schema: Rotation,
        examples: examplesOf({
          "both stay valid": {},
          "the former one ends": { former_expires_at: "2025-02-15T00:00:00Z" },
        }),
      },
    },
  },
  answers: {
    201: answer("Made.", MadeKey, { made: { ...MADE, rotated_from: TRANSACTION_ID } }, LOCATION),
    404: UNKNOWN,
    409: CONFLICT,
    503: unreachable("The database cannot be reached in time.", { ...AWAY, "in doubt": keyMadeInDoubt() }),
  },
  unreadable: { key_id: WRONG_ID },
})

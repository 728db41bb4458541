import * as z from "zod"
import { ErasurePath, LedgerQuery } from "../http/request/params.ts"
import { keyReused, notFound } from "../http/request/problems.ts"
import { ErasurePage, ErasureRecord, ErasureRequest } from "../signals/erasure.ts"
import { TRANSACTION_ID } from "./examples.ts"
import { answer, examplesOf, operation, refusal } from "./operation.ts"

const ERASURE: ErasureRecord = {
  id: TRANSACTION_ID,
  state: "running",
  created_at: "2025-01-15T09:30:00.123456Z",
  finished_at: null,
  requested_by: "privacy-desk",
  kind: "user_id",
  subject_hash: "0f3c1ad5bb5a0e2ce3f1b1a0d0b6c2c4",
  suppress: true,
  erased: { signals: 0, dead_letters: 0, ledger_texts: 0, waiting_records: 0 },
}

const DONE: ErasureRecord = {
  ...ERASURE,
  state: "done",
  finished_at: "2025-01-15T09:30:42.000000Z",
  erased: { signals: 311, dead_letters: 2, ledger_texts: 1, waiting_records: 0 },
}

const TAG = "Erasures"

export const createErasure = operation({
  id: "createErasure",
  tag: TAG,
  summary: "Erase the signals of a user, an agent or a conversation, or signals by their ids",
  description:
    "Give one of `user_id`, `agent_id`, `context_window_id` and `signal_ids`. The erasure runs after the answer; ask for its state at `Location`.",
  scope: "admin",
  params: {
    header: z.object({
      "Idempotency-Key": z.string().min(1).max(255).optional().meta({
        description: "A retry of the same body under the same key is the same erasure.",
      }),
    }),
  },
  body: {
    required: true,
    content: {
      "application/json": {
        schema: ErasureRequest,
        examples: examplesOf({
          "a user, for good": { user_id: "U123", suppress: true },
          "two signals": { signal_ids: [1001, 1002] },
        }),
      },
    },
  },
  answers: {
    202: answer(
      "Entered; it runs.",
      ErasureRecord,
      { running: ERASURE },
      {
        "Idempotency-Replayed": {
          description: "true: this is the erasure of an earlier request under this Idempotency-Key.",
          schema: { type: "string", enum: ["true"] },
        },
        Location: { description: "The erasure.", schema: { type: "string" } },
      },
    ),
  },
  unreadable: {
    "two subjects": [
      {
        type: "value_error",
        loc: ["body"],
        msg: "Value error, give one of user_id, agent_id, context_window_id and signal_ids",
      },
    ],
    "key reused": keyReused(),
  },
})

export const listErasures = operation({
  id: "listErasures",
  tag: TAG,
  summary: "List erasures, newest first",
  scope: "admin",
  params: { query: LedgerQuery },
  answers: {
    200: answer("One page.", ErasurePage, { "last page": { erasures: [DONE], next_cursor: null } }),
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

export const getErasure = operation({
  id: "getErasure",
  tag: TAG,
  summary: "One erasure: its state, and what it removed",
  description: "A request for a running erasure also continues it.",
  scope: "admin",
  params: { path: ErasurePath },
  answers: {
    200: answer("The erasure.", ErasureRecord, { done: DONE }),
    404: refusal("No erasure has this id.", { unknown: notFound("No erasure has this id.") }),
  },
  unreadable: {
    erasure_id: [
      {
        type: "uuid_parsing",
        loc: ["path", "erasure_id"],
        msg: "Input should be a valid UUID",
        input: "latest",
      },
    ],
  },
})

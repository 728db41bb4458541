import { DeadLetterPath, DeadLetterQuery, ReplayQuery } from "../http/request/params.ts"
import { notFound } from "../http/request/problems.ts"
import { BulkReplayAnswer, DeadLetterPage, DeadLetterRecord, ReplayAnswer } from "../signals/responses.ts"
import { BAD_SCORE, DEAD_LETTER, LISTED_DEAD_LETTER } from "./examples.ts"
import { answer, CHANGE_UNREACHABLE, operation, refusal } from "./operation.ts"

/** The parts that operations on one dead letter share. */
const ONE = {
  tag: "Dead letters",
  params: { path: DeadLetterPath },
  unreadable: {
    id: [
      {
        type: "int_parsing",
        loc: ["path", "id"],
        msg: "Input should be a valid integer, unable to parse string as an integer",
        input: "oldest",
      },
    ],
  },
}

const UNKNOWN = refusal("No dead letter has this id.", { unknown: notFound("No dead letter has this id.") })

export const listDeadLetters = operation({
  id: "listDeadLetters",
  tag: ONE.tag,
  summary: "List acknowledged records that could not become signals, newest first",
  description: "Without the records; `GET /api/dead-letters/{id}` has one.",
  scope: "read",
  params: { query: DeadLetterQuery },
  answers: {
    200: answer("One page.", DeadLetterPage, {
      "last page": { dead_letters: [LISTED_DEAD_LETTER], next_cursor: null },
    }),
  },
  unreadable: {
    limit: [
      {
        type: "greater_than_equal",
        loc: ["query", "limit"],
        msg: "Input should be greater than or equal to 1",
        input: "0",
      },
    ],
  },
})

export const getDeadLetter = operation({
  ...ONE,
  id: "getDeadLetter",
  summary: "One dead letter",
  scope: "read",
  answers: { 200: answer("The dead letter.", DeadLetterRecord, { waiting: DEAD_LETTER }), 404: UNKNOWN },
})

export const discardDeadLetter = operation({
  ...ONE,
  id: "discardDeadLetter",
  summary: "Discard a dead letter",
  description: "Needs a key with both scopes, `read` and `ingest`.",
  scope: "read",
  answers: {
    200: answer("The discarded dead letter.", DeadLetterRecord, {
      discarded: { ...DEAD_LETTER, state: "discarded" },
    }),
    404: UNKNOWN,
    503: CHANGE_UNREACHABLE,
  },
})

export const replayDeadLetter = operation({
  ...ONE,
  id: "replayDeadLetter",
  summary: "Replay a dead letter: store it after its cause is repaired",
  description:
    "Needs a key with both scopes, `read` and `ingest`. The record is stored once, even when it is replayed several times.",
  scope: "read",
  answers: {
    200: answer("The result.", ReplayAnswer, {
      replayed: { replayed: true, transaction_id: DEAD_LETTER.replay_transaction_id },
      "fails again": { replayed: false, reason: BAD_SCORE.error },
    }),
    404: UNKNOWN,
    503: CHANGE_UNREACHABLE,
  },
})

export const replayDeadLetters = operation({
  id: "replayDeadLetters",
  tag: ONE.tag,
  summary: "Replay many dead letters, oldest first",
  description:
    "Needs a key with both scopes, `read` and `ingest`. Up to 500 a call. Records that fail again stay, and `next_cursor` continues after them.",
  scope: "read",
  params: { query: ReplayQuery },
  answers: {
    200: answer("The results.", BulkReplayAnswer, {
      "one fails again": {
        replayed_count: 499,
        failed_count: 1,
        failures: [{ id: DEAD_LETTER.id, reason: BAD_SCORE.error }],
        next_cursor: "512",
      },
    }),
    503: CHANGE_UNREACHABLE,
  },
  unreadable: {
    limit: [
      {
        type: "less_than_equal",
        loc: ["query", "limit"],
        msg: "Input should be less than or equal to 500",
        input: "501",
      },
    ],
  },
})

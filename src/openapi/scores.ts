import * as z from "zod"
import { BatchQuery } from "../http/request/params.ts"
import { rejectedBatch } from "../http/request/problems.ts"
import { ScoresRequest } from "../scores/score.ts"
import { BatchRecord, ScoresAnswer } from "../signals/responses.ts"
import { BAD_SCORE, QUEUED_RECORD, SCORES, SCORES_ANSWER } from "./examples.ts"
import { answer, examplesOf, operation, rejected } from "./operation.ts"
import { applied, ContentEncoding, IdempotencyKey, KEY_REUSED, QUEUED_HEADERS, REPLAYED } from "./writes.ts"

export const createScores = operation({
  id: "createScores",
  tag: "Signals",
  summary: "Store scores of signals that are stored already",
  description:
    "The newest `scored_at` counts for each value, whatever the order of arrival, and each score is kept as history. " +
    "The modes, the answer and the ledger are those of a batch of signals. A score by a `dedupe_key` whose signal has not come waits for it, for 7 days; one of an unknown `signal_id` fails with `retryable`.",
  scope: "ingest",
  params: {
    query: BatchQuery,
    header: z.object({
      "Idempotency-Key": IdempotencyKey,
      Prefer: z.string().optional().meta({
        description:
          "`return=minimal` leaves successful scores out of `results`; `respond-async` answers 202 as soon as the batch is durable, and a score that then cannot be stored becomes a dead letter; `handling=lenient` lets a score of the wrong shape, or a line that is not JSON, fail alone in best-effort mode.",
      }),
      "Content-Encoding": ContentEncoding,
    }),
  },
  body: {
    required: true,
    content: {
      "application/json": {
        schema: ScoresRequest,
        examples: examplesOf({ scores: SCORES, "all or nothing": { ...SCORES, fail_on_error: true } }),
      },
      "application/x-ndjson": {
        schema: z.string().meta({ description: "One score on each line; `fail_on_error` is in the query." }),
        examples: examplesOf({
          "two scores": SCORES.scores.map((score) => `${JSON.stringify(score)}\n`).join(""),
        }),
      },
    },
  },
  answers: {
    200: answer(
      "Stored; in best-effort mode some scores may have failed. `duplicate`: the same score was stored before.",
      ScoresAnswer,
      {
        "one of a deleted signal": SCORES_ANSWER,
        "one that waits": {
          ...SCORES_ANSWER,
          successful_count: 2,
          failed_count: 0,
          waiting_count: 1,
          results: [
            ...SCORES_ANSWER.results.slice(0, 1),
            { index: 1, success: true, signal_id: null, error: null, waiting: true },
          ],
        },
      },
      { ...REPLAYED, ...applied("return=minimal, handling=lenient") },
    ),
    202: answer(
      "Durably queued, as `Prefer: respond-async` asked; the consumer stores it soon.",
      BatchRecord,
      { queued: { ...QUEUED_RECORD, kind: "scores", waiting_count: 0 } },
      QUEUED_HEADERS,
    ),
    400: rejected("All or nothing, and a score failed: nothing was stored.", {
      "one failed": rejectedBatch([BAD_SCORE]),
    }),
  },
  unreadable: {
    shape: [
      {
        type: "int_type",
        loc: ["body", "scores", 0, "signal_id"],
        msg: "Input should be a valid integer",
        input: "newest",
      },
    ],
    "key reused": KEY_REUSED,
  },
})

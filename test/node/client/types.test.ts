import { describe, expect, expectTypeOf, it } from "vitest"
import type { ApiKeyRecord } from "../../../src/client/api/queries.ts"
import type * as client from "../../../src/client/api/types.ts"
import type { Subscription, SubscriptionFilter } from "../../../src/client/subscriptions.ts"
import type { KeyRecord } from "../../../src/keys/records.ts"
import { Score } from "../../../src/scores/score.ts"
import type { PROBLEM_CODES } from "../../../src/signals/failures.ts"
import type * as service from "../../../src/signals/responses.ts"
import { Signal } from "../../../src/signals/schema.ts"
import type { ShapeError } from "../../../src/signals/shape-errors.ts"
import type * as subscriptions from "../../../src/subscriptions/schema.ts"

/**
 * The compiler compares them (`npm run check`). The library depends on nothing, so it has its own copy of the
 * types, which must not drift.
 */
describe("the library's types", () => {
  it("are those of the service's own schemas", () => {
    expectTypeOf<client.BatchAnswer>().toEqualTypeOf<service.BatchAnswer>()
    expectTypeOf<client.SignalResult>().toEqualTypeOf<service.SignalResult>()
    expectTypeOf<client.Failure>().toEqualTypeOf<service.Failure>()
    expectTypeOf<client.StoredSignal>().toEqualTypeOf<service.StoredSignal>()
    expectTypeOf<client.SignalWithScores>().toEqualTypeOf<service.SignalWithScores>()
    expectTypeOf<client.FeedSignal>().toEqualTypeOf<service.FeedSignal>()
    expectTypeOf<client.ConversationStats>().toEqualTypeOf<service.ConversationStats>()
    expectTypeOf<client.BatchRecord>().toEqualTypeOf<service.BatchRecord>()
    expectTypeOf<client.DeadLetter>().toEqualTypeOf<service.DeadLetterRecord>()
    expectTypeOf<client.ListedDeadLetter>().toEqualTypeOf<service.ListedDeadLetter>()
    expectTypeOf<client.ReplayAnswer>().toEqualTypeOf<service.ReplayAnswer>()
    expectTypeOf<client.BulkReplayAnswer>().toEqualTypeOf<service.BulkReplayAnswer>()
    expectTypeOf<Subscription>().toEqualTypeOf<subscriptions.SubscriptionRecord>()
    expectTypeOf<SubscriptionFilter>().toEqualTypeOf<subscriptions.SubscriptionFilter>()
    expectTypeOf<ApiKeyRecord>().toEqualTypeOf<KeyRecord>()
    expectTypeOf<client.FailureCode>().toEqualTypeOf<service.Failure["code"]>()
    expectTypeOf<client.ProblemCode>().toEqualTypeOf<keyof typeof PROBLEM_CODES>()
    expectTypeOf<client.ShapeError>().toEqualTypeOf<ShapeError>()
  })

  it("name the fields of a signal as the schema does", () => {
    const fields: Record<keyof client.NewSignal, true> = {
      context_window_id: true,
      timestamp: true,
      raw_content: true,
      signal_source: true,
      signal_score: true,
      signal_vector: true,
      emotional_tone: true,
      escalate_flag: true,
      agent_id: true,
      user_id: true,
      payload: true,
      relationship_context: true,
      diagnostic_notes: true,
      dedupe_key: true,
    }
    expect(Object.keys(fields)).toEqual(Object.keys(Signal.shape))
  })

  it("name the fields of a score as the schema does", () => {
    const fields: Record<keyof client.NewScore, true> = {
      signal_id: true,
      dedupe_key: true,
      signal_score: true,
      emotional_tone: true,
      escalate_flag: true,
      scored_at: true,
      scorer: true,
    }
    expect(Object.keys(fields)).toEqual(Object.keys(Score.shape))
  })
})

import type { DeadLetter, DeadLetterState } from "./types.ts"

export interface DeadLetterFilter {
  /** Default: waiting. */
  state?: DeadLetterState | undefined
  /** Dead letters a request, 1 to 1,000. Default: 200. It does not limit how many the iterator yields. */
  pageSize?: number | undefined
}

/** Which dead letters a call of `replayDeadLetters` replays. */
export interface ReplayChoice {
  /** Default: waiting. A dead letter that was replayed is replayed again only by its id. */
  state?: Exclude<DeadLetterState, "replayed"> | undefined
  source?: DeadLetter["source"] | undefined
  /** 1 to 500 ids, whatever the state of their dead letters. */
  ids?: readonly number[] | undefined
  /** Dead letters of this call, 1 to 500. Default: 500. The service takes fewer when their records are large. */
  limit?: number | undefined
  /** `next_cursor` of the call before. */
  cursor?: string | null | undefined
}

"""The codes of failed signals and of failed requests, as docs/api.md lists them."""

from typing import Literal, Union

KnownFailureCode = Literal[
    "missing_field",
    "wrong_type",
    "invalid_timestamp",
    "invalid_json",
    "out_of_range",
    "wrong_length",
    "blank",
    "invalid_text",
    "too_deep",
    "number_too_long",
    "too_large",
    "too_far_ahead",
    "reserved_dedupe_key",
    "edits_not_followed",
    "unreadable_record",
    "refused_by_database",
    "suppressed",
    "unknown_signal",
    "deleted_signal",
    "too_many_waiting",
    "two_signals",
    "too_many_scores",
    "unprocessed_message",
    "unreadable_message",
]
"""The reasons why one signal was not stored."""

KnownProblemCode = Literal[
    "batch_rejected",
    "body_cut_off",
    "bad_request",
    "unauthorized",
    "insufficient_scope",
    "cross_site",
    "not_found",
    "method_not_allowed",
    "body_timeout",
    "too_many_signals",
    "too_many_containers",
    "body_too_large",
    "unsupported_media_type",
    "unsupported_encoding",
    "invalid_request",
    "idempotency_key_reused",
    "key_conflict",
    "key_in_doubt",
    "key_not_checked",
    "read_too_costly",
    "result_too_large",
    "payload_too_large",
    "rate_limited",
    "internal_error",
    "invariant_violated",
    "overloaded",
    "database_unavailable",
    "database_not_ready",
    "in_doubt",
    "not_configured",
    "metrics_unavailable",
]
"""The reasons why a request failed."""

FailureCode = Union[KnownFailureCode, str]
ProblemCode = Union[KnownProblemCode, str]

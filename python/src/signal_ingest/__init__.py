"""signal-ingest: sends signals, and loses none that it has accepted."""

from .async_client import AsyncSignalClient
from .base.errors import (
    BatchRejectedError,
    BufferFull,
    ClosedError,
    DeadlineError,
    InvalidSignalError,
    RateLimitedError,
    RequestError,
    SignalError,
    SpoolError,
    TransientError,
    UnauthorizedError,
    UnavailableError,
    UndeliveredError,
    ValidationError,
)
from .base.types import (
    BatchAnswer,
    BatchRecord,
    BulkReplayAnswer,
    ConversationStats,
    DeadLetter,
    Erasure,
    Failure,
    FeedPage,
    ListedDeadLetter,
    NewErasure,
    NewScore,
    NewSignal,
    ReplayAnswer,
    Signal,
    SignalPage,
    SignalResult,
    StoredSignal,
)
from .calls.call import Retry
from .client import SignalClient
from .log_handler import LogHandler, conversation
from .processor.options import BatchRetry, Delivered, Options, Undelivered, Unstored
from .processor.stats import Stats
from .processor.tasks import AsyncBatchProcessor
from .processor.threads import BatchProcessor
from .spool.lines import DamagedLine
from .spool.spool import Spool

__version__ = "1.0.0"

__all__ = [
    "AsyncBatchProcessor",
    "AsyncSignalClient",
    "BatchAnswer",
    "BatchProcessor",
    "BatchRecord",
    "BatchRejectedError",
    "BatchRetry",
    "BufferFull",
    "BulkReplayAnswer",
    "ClosedError",
    "ConversationStats",
    "DamagedLine",
    "DeadLetter",
    "DeadlineError",
    "Delivered",
    "InvalidSignalError",
    "Erasure",
    "Failure",
    "FeedPage",
    "ListedDeadLetter",
    "LogHandler",
    "NewErasure",
    "NewScore",
    "NewSignal",
    "Options",
    "RateLimitedError",
    "ReplayAnswer",
    "RequestError",
    "Retry",
    "Signal",
    "SignalClient",
    "SignalError",
    "SignalPage",
    "SignalResult",
    "Spool",
    "SpoolError",
    "Stats",
    "StoredSignal",
    "TransientError",
    "UnauthorizedError",
    "UnavailableError",
    "Undelivered",
    "UndeliveredError",
    "Unstored",
    "ValidationError",
    "conversation",
]

"""Sends a batch and reads it back, with the client that openapi-generator makes for Python."""

import datetime
import json
import sys
import uuid

from openapi_client import ApiClient, BatchesApi, BatchRequest, Configuration, Signal, SignalsApi

client = ApiClient(Configuration(host=sys.argv[1]))
signals = SignalsApi(client)
conversation = str(uuid.uuid4())
time = datetime.datetime(2025, 1, 15, 9, 30, 0, 123456, tzinfo=datetime.timezone.utc)

first = Signal(
    context_window_id=conversation,
    timestamp=time,
    raw_content="first",
    signal_score=0.85,
    escalate_flag=1,
    payload={"channel": "general"},
)
second = Signal(context_window_id=conversation)
stored = signals.create_batch(
    BatchRequest(signals=[first, second]), fail_on_error=False, idempotency_key=conversation
)
page = signals.list_signals(context_window_id=conversation, since=time, until=time + datetime.timedelta(days=1), limit=1)
batch = BatchesApi(client).get_batch(stored.transaction_id)
one = signals.get_signal(stored.results[0].signal_id)

print(
    json.dumps(
        {
            "successful": stored.successful_count,
            "listed": [signal.time.isoformat() for signal in page.signals],
            "state": batch.state,
            "content": one.raw_content,
        }
    )
)

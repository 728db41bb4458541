"""Sends a batch and reads it back, with the client that openapi-python-client makes."""

import datetime
import json
import sys
import uuid

from signal_ingest_client import Client
from signal_ingest_client.api.batches import get_batch
from signal_ingest_client.api.signals import create_batch, get_signal, list_signals
from signal_ingest_client.models import BatchRequest, Signal, SignalPayloadType0

client = Client(base_url=sys.argv[1])
conversation = str(uuid.uuid4())
time = datetime.datetime(2025, 1, 15, 9, 30, 0, 123456, tzinfo=datetime.timezone.utc)

payload = SignalPayloadType0.from_dict({"channel": "general"})
first = Signal(conversation, timestamp=time, raw_content="first", signal_score=0.85, escalate_flag=1, payload=payload)
second = Signal(conversation, signal_score=2)
stored = create_batch.sync(
    client=client, body=BatchRequest(signals=[first, second]), fail_on_error=False, idempotency_key=conversation
)
page = list_signals.sync(client=client, context_window_id=conversation, since=time, limit=1)
batch = get_batch.sync(stored.transaction_id, client=client)
one = get_signal.sync(stored.results[0].signal_id, client=client)

print(
    json.dumps(
        {
            "successful": stored.successful_count,
            "failed": stored.results[1].error,
            "listed": [signal.time.isoformat() for signal in page.signals],
            "state": batch.state.value,
            "content": one.raw_content,
        }
    )
)

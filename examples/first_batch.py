import os

from signal_ingest import SignalClient

client = SignalClient(os.environ.get("SIGNAL_INGEST_URL", "http://localhost:8002"))

signals = [
    {"context_window_id": "conv-123", "raw_content": "Ready to sync", "signal_score": 0.85},
    {"context_window_id": "conv-123", "raw_content": "Let us go", "signal_score": 1.5},
]
answer = client.create_batch(signals)
print(f"stored {answer['successful_count']} of {answer['total_count']}")
print(*(result["error"] for result in answer["results"] if not result["success"]))

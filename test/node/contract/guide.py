"""The Python snippets of the guide to batch ingestion, as printed but for the address and the data they leave open."""
import sys
import time
from datetime import datetime, timezone

import requests

ADDRESS = sys.argv[1]
BASE_URL = f"{ADDRESS}/api"

# 1. Ingest Chat Log (100 messages, best-effort)
conversation_id = "team-standup-2025-01-15"
messages = [
    {"speaker": "Alice", "text": f"Message {i}", "timestamp": datetime(2025, 1, 15, 9, 0, i % 60, tzinfo=timezone.utc).isoformat()}
    for i in range(100)
]
batch = {
    "signals": [
        {
            "context_window_id": conversation_id,
            "raw_content": msg["text"],
            "signal_source": "Slack",
            "signal_score": 0.8,
            "agent_id": msg["speaker"],
            "timestamp": msg["timestamp"],
            "payload": {"channel": "#engineering", "thread_ts": msg.get("thread_ts")},
        }
        for msg in messages
    ],
    "fail_on_error": False,
}
response = requests.post(f"{ADDRESS}/api/signals/batch", json=batch, timeout=30)
result = response.json()
print(f"Created {result['successful_count']}/{result['total_count']} signals")
if result["failed_count"] > 0:
    for item in result["results"]:
        if not item["success"]:
            print(f"Failed at index {item['index']}: {item['error']}")

# 2. Import Critical Metrics (all-or-nothing)
for velocity_data in ([(21, 0.7), (34, 0.9)], [(21, 0.7), (34, 1.9)]):
    batch = {
        "signals": [
            {
                "context_window_id": "q4-2024-metrics",
                "raw_content": f"Team velocity: {velocity}",
                "signal_source": "Axis",
                "signal_score": score,
                "payload": {"metric": "velocity", "value": velocity, "quarter": "Q4-2024", "verified": True},
            }
            for velocity, score in velocity_data
        ],
        "fail_on_error": True,
    }
    response = requests.post(f"{ADDRESS}/api/signals/batch", json=batch, timeout=30)
    if response.status_code == 200:
        print("✓ All metrics imported successfully")
    else:
        print(f"✗ Import failed: {response.json()['detail']}")


# 5. Implement Retry Logic
def create_batch_with_retry(batch, max_retries=3):
    for attempt in range(max_retries):
        try:
            response = requests.post(f"{BASE_URL}/signals/batch", json=batch, timeout=30)
            if response.status_code == 200:
                return response.json()
            elif response.status_code == 400:
                raise ValueError(response.json()["detail"])
            else:
                time.sleep(2**attempt)
        except Exception:
            if attempt == max_retries - 1:
                raise
            time.sleep(2**attempt)


result = create_batch_with_retry({"signals": [{"context_window_id": "conv-123", "raw_content": "again"}], "fail_on_error": False})
print(f"Flushed {result['successful_count']} signals")

"""Sends a chunked body of argv[2] bytes and then a small batch on the same connection; prints both statuses."""

import sys

import requests

address, size = sys.argv[1], int(sys.argv[2])
url = f"{address}/api/signals/batch"
types = {"Content-Type": "application/json"}


def chunks():
    for _ in range(size // 65536):
        yield b" " * 65536


with requests.Session() as session:
    long = session.post(url, data=chunks(), headers=types)
    short = session.post(url, json={"signals": [{"context_window_id": "after"}]})
    print(long.status_code, short.status_code)

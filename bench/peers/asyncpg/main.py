"""The fast way with Python: FastAPI, pydantic's own JSON reader, one prepared statement over arrays by asyncpg, orjson."""

import os
import uuid
from contextlib import asynccontextmanager
from datetime import datetime, timezone
from typing import Any, Optional

import asyncpg
import orjson
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel, ValidationError


class Signal(BaseModel):
    context_window_id: str
    timestamp: Optional[datetime] = None
    raw_content: Optional[str] = None
    signal_source: Optional[str] = None
    signal_score: Optional[float] = None
    signal_vector: Optional[str] = None
    emotional_tone: Optional[float] = None
    escalate_flag: Optional[int] = None
    agent_id: Optional[str] = None
    user_id: Optional[str] = None
    payload: Optional[dict[str, Any]] = None
    relationship_context: Optional[str] = None
    diagnostic_notes: Optional[str] = None


class Batch(BaseModel):
    signals: list[Signal]
    fail_on_error: Optional[bool] = False


STATEMENT = """
insert into signals (transaction_id, time, context_window_id, raw_content, signal_source, signal_score, signal_vector,
  emotional_tone, escalate_flag, agent_id, user_id, payload, relationship_context, diagnostic_notes)
select $1, s.time, s.context_window_id, s.raw_content, s.signal_source, s.signal_score, s.signal_vector, s.emotional_tone,
  s.escalate_flag, s.agent_id, s.user_id, s.payload::jsonb, s.relationship_context, s.diagnostic_notes
from unnest($2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::float8[], $7::text[], $8::float8[], $9::int2[],
  $10::text[], $11::text[], $12::text[], $13::text[], $14::text[]) with ordinality
  as s (time, context_window_id, raw_content, signal_source, signal_score, signal_vector, emotional_tone, escalate_flag,
  agent_id, user_id, payload, relationship_context, diagnostic_notes, place)
order by s.place returning id
"""


@asynccontextmanager
async def lifespan(app: FastAPI):
    app.state.pool = await asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=10, max_size=10)
    yield
    await app.state.pool.close()


app = FastAPI(lifespan=lifespan)


def broken_rule(signal: Signal) -> Optional[str]:
    if not 1 <= len(signal.context_window_id) <= 255 or not signal.context_window_id.strip():
        return "context_window_id must be 1 to 255 characters long"
    if signal.signal_source is not None and not 1 <= len(signal.signal_source) <= 255:
        return "signal_source must be 1 to 255 characters long"
    if signal.signal_score is not None and not 0 <= signal.signal_score <= 1:
        return "signal_score must be between 0 and 1"
    if signal.emotional_tone is not None and not 0 <= signal.emotional_tone <= 1:
        return "emotional_tone must be between 0 and 1"
    if signal.escalate_flag not in (None, 0, 1):
        return "escalate_flag must be 0 or 1"
    return None


def row_of(signal: Signal, now: datetime) -> tuple[Any, ...]:
    time = signal.timestamp or now
    return (
        time if time.tzinfo else time.replace(tzinfo=timezone.utc),
        signal.context_window_id,
        signal.raw_content,
        signal.signal_source or "unknown",
        0.5 if signal.signal_score is None else signal.signal_score,
        signal.signal_vector,
        signal.emotional_tone,
        signal.escalate_flag or 0,
        signal.agent_id,
        signal.user_id,
        None if signal.payload is None else orjson.dumps(signal.payload).decode(),
        signal.relationship_context,
        signal.diagnostic_notes,
    )


async def store(signals: list[Signal]) -> list[dict[str, Any]]:
    now = datetime.now(timezone.utc)
    errors = [broken_rule(signal) for signal in signals]
    rows = [row_of(signal, now) for signal, error in zip(signals, errors) if error is None]
    ids = iter(await app.state.pool.fetch(STATEMENT, uuid.uuid4(), *zip(*rows)) if rows else [])
    return [
        {"index": index, "success": error is None, "signal_id": None if error else next(ids)[0], "error": error}
        for index, error in enumerate(errors)
    ]


def answer(status: int, body: Any) -> Response:
    return Response(orjson.dumps(body), status, media_type="application/json")


@app.post("/api/signals/batch")
async def create_batch(request: Request) -> Response:
    try:
        batch = Batch.model_validate_json(await request.body())
    except ValidationError as error:
        return Response(error.json(), 422, media_type="application/json")
    return answer(200, {"results": await store(batch.signals)})


@app.post("/api/signals")
async def create(request: Request) -> Response:
    try:
        signal = Signal.model_validate_json(await request.body())
    except ValidationError as error:
        return Response(error.json(), 422, media_type="application/json")
    [result] = await store([signal])
    return answer(422, result) if result["error"] else answer(201, {"id": result["signal_id"]})

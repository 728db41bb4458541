"""A batch as a usual FastAPI service stores it: SQLAlchemy's ORM, a signal added and flushed after the other, one transaction."""

import os
import uuid
from datetime import datetime, timezone
from typing import Any, Optional

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel
from sqlalchemy import BigInteger, DateTime, Double, Identity, SmallInteger, Text, Uuid, create_engine
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

engine = create_engine(
    os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg2://", 1), pool_size=10, max_overflow=0
)
app = FastAPI()


class Base(DeclarativeBase):
    pass


class Row(Base):
    __tablename__ = "signals"
    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    transaction_id: Mapped[uuid.UUID] = mapped_column(Uuid)
    time: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    context_window_id: Mapped[str] = mapped_column(Text)
    raw_content: Mapped[Optional[str]] = mapped_column(Text)
    signal_source: Mapped[str] = mapped_column(Text)
    signal_score: Mapped[float] = mapped_column(Double)
    signal_vector: Mapped[Optional[str]] = mapped_column(Text)
    emotional_tone: Mapped[Optional[float]] = mapped_column(Double)
    escalate_flag: Mapped[int] = mapped_column(SmallInteger)
    agent_id: Mapped[Optional[str]] = mapped_column(Text)
    user_id: Mapped[Optional[str]] = mapped_column(Text)
    payload: Mapped[Optional[dict[str, Any]]] = mapped_column(JSONB(none_as_null=True))
    relationship_context: Mapped[Optional[str]] = mapped_column(Text)
    diagnostic_notes: Mapped[Optional[str]] = mapped_column(Text)


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


def broken_rule(signal: Signal) -> Optional[str]:
    if not 1 <= len(signal.context_window_id) <= 255 or not signal.context_window_id.strip():
        return "context_window_id must be 1 to 255 characters long"
    if signal.signal_source is not None and not 1 <= len(signal.signal_source) <= 255:
        return "signal_source must be 1 to 255 characters long"
    for name in ("signal_score", "emotional_tone"):
        value = getattr(signal, name)
        if value is not None and not 0 <= value <= 1:
            return f"{name} must be between 0 and 1"
    if signal.escalate_flag not in (None, 0, 1):
        return "escalate_flag must be 0 or 1"
    return None


def row_of(signal: Signal, transaction_id: uuid.UUID, now: datetime) -> Row:
    time = signal.timestamp or now
    return Row(
        transaction_id=transaction_id,
        time=time if time.tzinfo else time.replace(tzinfo=timezone.utc),
        context_window_id=signal.context_window_id,
        raw_content=signal.raw_content,
        signal_source=signal.signal_source or "unknown",
        signal_score=0.5 if signal.signal_score is None else signal.signal_score,
        signal_vector=signal.signal_vector,
        emotional_tone=signal.emotional_tone,
        escalate_flag=signal.escalate_flag or 0,
        agent_id=signal.agent_id,
        user_id=signal.user_id,
        payload=signal.payload,
        relationship_context=signal.relationship_context,
        diagnostic_notes=signal.diagnostic_notes,
    )


def store(signals: list[Signal]) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = []
    transaction_id, now = uuid.uuid4(), datetime.now(timezone.utc)
    with Session(engine) as session:
        for index, signal in enumerate(signals):
            error = broken_rule(signal)
            if error:
                results.append({"index": index, "success": False, "signal_id": None, "error": error})
                continue
            row = row_of(signal, transaction_id, now)
            session.add(row)
            session.flush()
            results.append({"index": index, "success": True, "signal_id": row.id, "error": None})
        session.commit()
    return results


@app.post("/api/signals/batch")
def create_batch(batch: Batch) -> dict[str, Any]:
    return {"results": store(batch.signals)}


@app.post("/api/signals", status_code=201)
def create(signal: Signal) -> dict[str, Any]:
    [result] = store([signal])
    if result["error"]:
        raise HTTPException(422, result["error"])
    return {"id": result["signal_id"]}

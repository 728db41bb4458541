"""For LiteLLM: each call of a model becomes a signal.

>>> litellm.callbacks = [SignalLogger(processor)]
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from litellm.integrations.custom_logger import CustomLogger

from .recorder import Accepting, Recorder, conversation_in


class SignalLogger(CustomLogger):
    """Sends calls of models. The conversation is in ``metadata``, else it is ``user``, or the call."""

    def __init__(self, processor: Accepting, *, source: str = "litellm") -> None:
        super().__init__()
        self._recorder = Recorder(processor, source, "litellm")

    def log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """Sends an answer."""
        choices = getattr(response_obj, "choices", None) or []
        text = "\n".join(one.message.content or "" for one in choices if getattr(one, "message", None))
        usage = getattr(response_obj, "usage", None)
        self._send(kwargs, text, start_time, end_time, usage=usage.model_dump() if usage else None)

    def log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """Sends an error."""
        error = kwargs.get("exception") or response_obj
        self._send(kwargs, str(error), start_time, end_time, error=repr(error))

    async def async_log_success_event(
        self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        """Sends an answer: adding to a processor's buffer does not wait."""
        self.log_success_event(kwargs, response_obj, start_time, end_time)

    async def async_log_failure_event(
        self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        """Sends an error."""
        self.log_failure_event(kwargs, response_obj, start_time, end_time)

    def _send(self, kwargs: Any, text: str, start_time: Any, end_time: Any, **more: Any) -> None:
        metadata = (kwargs.get("litellm_params") or {}).get("metadata") or {}
        started = start_time.timestamp() if isinstance(start_time, datetime) else float(start_time)
        ended = end_time.timestamp() if isinstance(end_time, datetime) else float(end_time)
        self._recorder.record(
            conversation_in(metadata) or kwargs.get("user") or kwargs.get("litellm_call_id"),
            text,
            {
                "model": kwargs.get("model"),
                "messages": kwargs.get("messages"),
                "call_id": kwargs.get("litellm_call_id"),
                "cost": kwargs.get("response_cost"),
                "seconds": round(ended - started, 6),
                **more,
            },
            timestamp=datetime.fromtimestamp(started, timezone.utc),
            escalate_flag=int("error" in more),
        )

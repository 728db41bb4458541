"""For LangChain: each answer of a model, each tool and each error becomes a signal.

>>> chain.invoke(question, config={"callbacks": [SignalCallback(processor)], "metadata": {"thread_id": "t1"}})
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Optional
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.outputs import LLMResult

from .recorder import Accepting, Recorder, conversation_in

MAX_RUNS = 10_000
"""Runs whose conversation and input are remembered; the oldest is forgotten first."""


class SignalCallback(BaseCallbackHandler):
    """Sends what a chain does. The conversation is in ``metadata``, else the outermost run."""

    def __init__(self, processor: Accepting, *, source: str = "langchain") -> None:
        self._recorder = Recorder(processor, source, "langchain")
        self._runs: OrderedDict[UUID, tuple[str, Any, str]] = OrderedDict()

    def _begin(self, name: Any, input: Any, run_id: UUID, parent: Optional[UUID], metadata: Any) -> None:
        outer = self._runs.get(parent) if parent is not None else None
        room = conversation_in(metadata) or (outer[0] if outer is not None else str(run_id))
        self._runs[run_id] = (room, input, str(name))
        while len(self._runs) > MAX_RUNS:
            self._runs.popitem(last=False)

    def _end(self, kind: str, text: Any, run_id: UUID, parent: Optional[UUID], **more: Any) -> None:
        room, input, name = self._runs.pop(run_id, (None, None, None))
        ids = {"run_id": str(run_id), "parent_run_id": str(parent) if parent else None}
        payload = {"kind": kind, "name": name, "input": input, **ids, **more}
        self._recorder.record(room, text, payload, escalate_flag=int("error" in more))

    def on_chain_start(self, serialized: Any, inputs: Any, *, run_id: UUID, **kw: Any) -> None:
        """Remembers the conversation for the runs inside."""
        self._begin(kw.get("name"), None, run_id, kw.get("parent_run_id"), kw.get("metadata"))

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **kw: Any) -> None:
        """Forgets the run: its models and tools were sent."""
        self._runs.pop(run_id, None)

    def on_chat_model_start(self, serialized: Any, messages: Any, *, run_id: UUID, **kw: Any) -> None:
        """Remembers the messages."""
        said = [[{"role": one.type, "content": one.content} for one in part] for part in messages]
        self._begin(kw.get("name"), said, run_id, kw.get("parent_run_id"), kw.get("metadata"))

    def on_llm_start(self, serialized: Any, prompts: Any, *, run_id: UUID, **kw: Any) -> None:
        """Remembers the prompts."""
        self._begin(kw.get("name"), prompts, run_id, kw.get("parent_run_id"), kw.get("metadata"))

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kw: Any) -> None:
        """Sends the answer of a model."""
        text = "\n".join(one.text for part in response.generations for one in part)
        self._end("model", text, run_id, kw.get("parent_run_id"), output=response.llm_output)

    def on_tool_start(self, serialized: Any, input_str: str, *, run_id: UUID, **kw: Any) -> None:
        """Remembers the input of a tool."""
        name = (serialized or {}).get("name") or kw.get("name")
        self._begin(name, input_str, run_id, kw.get("parent_run_id"), kw.get("metadata"))

    def on_tool_end(self, output: Any, *, run_id: UUID, **kw: Any) -> None:
        """Sends the output of a tool."""
        self._end("tool", getattr(output, "content", output), run_id, kw.get("parent_run_id"))

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kw: Any) -> None:
        """Sends the error of a model."""
        self._end("model", str(error), run_id, kw.get("parent_run_id"), error=repr(error))

    def on_tool_error(self, error: BaseException, *, run_id: UUID, **kw: Any) -> None:
        """Sends the error of a tool."""
        self._end("tool", str(error), run_id, kw.get("parent_run_id"), error=repr(error))

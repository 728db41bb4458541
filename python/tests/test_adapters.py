"""The adapters against the real libraries."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from signal_ingest import BatchProcessor, SignalClient

from .setup.hop import Hop
from .test_processor import body_of, echo, until

pytestmark = pytest.mark.long  # the libraries are large


def sent(stub: Hop, processor: BatchProcessor) -> list[Any]:
    assert processor.close()
    return [one for seen in stub.seen for one in json.loads(body_of(seen))["signals"]]


@pytest.fixture
def processor(stub: Hop) -> BatchProcessor:
    stub.always = echo
    return BatchProcessor(SignalClient(stub.url), max_wait_seconds=3600)


def test_openai_agents(stub: Hop, processor: BatchProcessor) -> None:
    tracing = pytest.importorskip("agents.tracing")
    from signal_ingest.adapters.openai_agents import SignalTracingProcessor

    tracing.set_trace_processors([SignalTracingProcessor(processor)])
    tracing.set_tracing_disabled(False)
    with tracing.trace("Joke workflow", group_id="conv-7"):
        with tracing.generation_span(
            input=[{"role": "user", "content": "Hi"}], output=[{"content": "Ho"}], model="m"
        ):
            pass
        with tracing.function_span("search", input="q", output="found") as span:
            span.set_error({"message": "slow", "data": {"thing": object()}})
    signals = sent(stub, processor)
    assert [one["payload"]["kind"] for one in signals] == ["generation", "function", "trace"]
    assert {one["context_window_id"] for one in signals} == {"conv-7"}
    assert (signals[1]["raw_content"], signals[1]["escalate_flag"]) == ("found", 1)
    assert signals[1]["payload"]["error"]["message"] == "slow"
    tracing.set_trace_processors([])


def test_langchain(stub: Hop, processor: BatchProcessor) -> None:
    pytest.importorskip("langchain_core")
    from langchain_core.language_models.fake_chat_models import FakeListChatModel
    from langchain_core.prompts import ChatPromptTemplate
    from langchain_core.tools import tool

    from signal_ingest.adapters.langchain import SignalCallback

    @tool
    def divide(number: int) -> float:
        """Divides."""
        return 1 / number

    config: Any = {"callbacks": [SignalCallback(processor)], "metadata": {"thread_id": "thread-1"}}
    chain = ChatPromptTemplate.from_messages([("user", "{question}")]) | FakeListChatModel(
        responses=["Forty-two"]
    )
    chain.invoke({"question": "What?"}, config=config)
    divide.invoke({"number": 4}, config=config)
    with pytest.raises(ZeroDivisionError):
        divide.invoke({"number": 0}, config=config)
    asyncio.run(chain.ainvoke({"question": "Again?"}, config=config))
    signals = sent(stub, processor)
    assert [one["payload"]["kind"] for one in signals] == ["model", "tool", "tool", "model"]
    assert {one["context_window_id"] for one in signals} == {"thread-1"}
    assert [one["raw_content"] for one in signals[:2]] == ["Forty-two", "0.25"]
    assert signals[0]["payload"]["input"] == [[{"role": "human", "content": "What?"}]]
    assert (signals[2]["escalate_flag"], "ZeroDivisionError" in signals[2]["payload"]["error"]) == (1, True)


def test_litellm(stub: Hop, processor: BatchProcessor) -> None:
    litellm = pytest.importorskip("litellm")
    from signal_ingest.adapters.litellm import SignalLogger

    litellm.callbacks = [SignalLogger(processor)]
    messages = [{"role": "user", "content": "Hi"}]
    metadata = {"conversation_id": "conv-9"}
    litellm.completion("gpt-4o", messages, mock_response="Hello", metadata=metadata)
    with pytest.raises(Exception, match="boom"):
        litellm.completion("gpt-4o", messages, mock_response=Exception("boom"), metadata=metadata)
    until(lambda: processor.stats().accepted >= 2)
    signals = sorted(sent(stub, processor), key=lambda one: int(one["escalate_flag"]))
    assert [one["context_window_id"] for one in signals] == ["conv-9", "conv-9"]
    assert signals[0]["raw_content"] == "Hello"
    assert signals[0]["payload"]["messages"] == messages
    assert "boom" in signals[1]["payload"]["error"]
    litellm.callbacks = []


def test_a_record_that_cannot_be_sent_does_not_stop_the_agent(processor: BatchProcessor) -> None:
    from signal_ingest.adapters.recorder import Recorder

    recorder = Recorder(processor, "test", "default")
    recorder.record(None, "half \ud800", {"thing": {1: {2, object}}, "nan": float("nan")})
    assert processor.stats().accepted == 1
    processor.close()
    recorder.record(None, "closed", {})

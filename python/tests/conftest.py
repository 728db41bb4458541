from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, settings

from .setup import service as services
from .setup.hop import Hop
from .setup.twins import TWINS, Twin

# A busy machine is no failure. The limit of pytest ends what hangs.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "service" in getattr(item, "fixturenames", ()):
            item.add_marker("service")
            # One process of pytest-xdist runs them all, with one service.
            item.add_marker(pytest.mark.xdist_group("service"))


@pytest.fixture(scope="session")
def service() -> Iterator[services.Service]:
    """The real service, open to every local call."""
    if not services.can_start:
        pytest.skip("the service needs its packages: npm ci")
    started = services.Service(**services.OPEN)
    yield started
    started.remove()


@pytest.fixture
def hop(service: services.Service) -> Iterator[Hop]:
    """A hop in front of the real service."""
    made = Hop(service.url)
    yield made
    made.stop()


@pytest.fixture
def stub() -> Iterator[Hop]:
    """A server that answers what a test says, and nothing else."""
    made = Hop()
    yield made
    made.stop()


@pytest.fixture(params=TWINS)
def twin(request: pytest.FixtureRequest) -> Iterator[Twin]:
    """Both kinds of client and processor, one after the other."""
    made = Twin(request.param)
    yield made
    made.end()


@pytest.fixture
def room() -> str:
    """A conversation that no other test has."""
    return f"room-{uuid.uuid4()}"


@pytest.fixture
def texts_of(service: services.Service) -> Callable[[str], list[str]]:
    """Reads the texts of a conversation from the service, in order."""
    from signal_ingest import SignalClient

    def read(room: str) -> list[str]:
        with SignalClient(service.url) as client:
            return sorted(str(signal["raw_content"]) for signal in client.list(context_window_id=room))

    return read


_numbers = itertools.count()


def batch_answer(count: int, failed: dict[int, str] | None = None) -> str:
    """An answer of the service to a batch of ``count`` signals."""
    import json

    failed = failed or {}
    results = [
        {"index": at, "success": False, "signal_id": None, "error": code, "code": code, "retryable": False}
        if code
        else {"index": at, "success": True, "signal_id": next(_numbers), "error": None}
        for at, code in ((at, failed.get(at)) for at in range(count))
    ]
    counts = {"total_count": count, "successful_count": count - len(failed), "failed_count": len(failed)}
    return json.dumps({**counts, "results": results, "transaction_id": str(uuid.uuid4())})

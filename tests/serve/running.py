"""The HTTP app and the gRPC service on real sockets, without Ray: in a thread of the test process."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace

import grpc
import uvicorn

from lft_ray.serve.api.app import create_app, metrics_of
from lft_ray.serve.cluster.environment import free_port
from lft_ray.serve.http.auth import ApiKeys
from lft_ray.serve.http.metrics import Metrics
from lft_ray.serve.protocols import messages
from lft_ray.serve.protocols.grpc import GrpcService
from lft_ray.serve.rollout.service import Service
from tests.serve.conftest import make_service


@dataclass
class Running:
    """Addresses of the running endpoint."""

    port: int
    grpc_port: int
    service: Service
    metrics: Metrics

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def grpc_server(grpc_service: GrpcService) -> grpc.aio.Server:
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", messages.MAX_MESSAGE_BYTES)])
    methods = {name: partial(grpc_service.call, name) for name in messages.METHODS}
    messages.add_to_server(SimpleNamespace(**methods), server)
    return server


@contextmanager
def running(
    keys: ApiKeys | None = None,
    *,
    service: Service | None = None,
    make: Callable[[], Awaitable[Service]] = make_service,
) -> Iterator[Running]:
    """Serve until the end of the body. ``service`` must not have been used in another loop; else one is made."""
    port = free_port()
    started = threading.Event()
    found: list[Running] = []
    config = uvicorn.Config("", port=port, log_level="critical", timeout_graceful_shutdown=2)
    server = uvicorn.Server(config)

    async def serve() -> None:
        own = service or await make()
        metrics = metrics_of(own)
        config.app = create_app(own, keys=keys, metrics=metrics)
        rpc = grpc_server(GrpcService(own, keys=keys or ApiKeys(), local_only=True, metrics=metrics))
        grpc_port = rpc.add_insecure_port("127.0.0.1:0")
        await rpc.start()
        found.append(Running(port, grpc_port, own, metrics))
        task = asyncio.create_task(server.serve())
        while not server.started and not task.done():
            await asyncio.sleep(0.01)
        started.set()
        await task
        await rpc.stop(1)
        if own.version:
            await own.current.retire()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    try:
        assert started.wait(30)
        yield found[0]
    finally:
        server.should_exit = True
        thread.join(30)

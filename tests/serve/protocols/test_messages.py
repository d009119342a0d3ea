from types import SimpleNamespace

import pytest

from lft_ray.serve.protocols import messages, open_inference_pb2


def test_methods_are_those_of_the_service():
    service = open_inference_pb2.DESCRIPTOR.services_by_name[messages.SERVICE.rpartition(".")[2]]
    assert service.full_name == messages.SERVICE
    assert tuple(method.name for method in service.methods) == messages.METHODS
    for method in service.methods:
        assert method.input_type == messages.message(f"{method.name}Request").DESCRIPTOR
        assert method.output_type == messages.message(f"{method.name}Response").DESCRIPTOR


class Server:
    """Collects what a gRPC server would be given."""

    def add_generic_rpc_handlers(self, handlers):
        (self.handler,) = handlers

    def find(self, method: str):
        return self.handler.service(SimpleNamespace(method=f"/{messages.SERVICE}/{method}"))


@pytest.mark.parametrize("method", messages.METHODS)
def test_every_method_gets_a_handler_that_parses_and_serializes(method):
    server = Server()
    servicer = SimpleNamespace(**{name: f"method {name}" for name in messages.METHODS})
    messages.add_to_server(servicer, server)
    handler = server.find(method)
    assert handler.unary_unary == f"method {method}"
    request = messages.message(f"{method}Request")()
    assert handler.request_deserializer(request.SerializeToString()) == request
    assert handler.request_deserializer(b"\xff\xff\xff") is None
    assert handler.response_serializer(messages.message(f"{method}Response")()) == b""
    assert server.find("Other") is None

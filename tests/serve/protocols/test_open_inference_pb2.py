"""The generated messages: in step with the proto file, and beside another copy of the protocol."""

import ast
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

from lft_ray.serve.protocols import messages, open_inference_pb2

PROTO = Path(open_inference_pb2.__file__).with_name("open_inference.proto")


def declared(stub: str) -> dict[str, list[str]]:
    """Fields and methods of each class in a ``.pyi``, whatever protoc's version writes around them."""
    found = {}
    for node in ast.walk(ast.parse(stub)):
        if isinstance(node, ast.ClassDef):
            names = [part.target.id for part in node.body if isinstance(part, ast.AnnAssign)]
            found[node.name] = sorted(names + [part.name for part in node.body if isinstance(part, ast.FunctionDef)])
    return found


def test_the_generated_files_match_the_proto_file(tmp_path):
    protoc = pytest.importorskip("grpc_tools.protoc")
    out = tmp_path / "open_inference.binpb"
    command = ["", f"-I{PROTO.parent}", f"--descriptor_set_out={out}", f"--pyi_out={tmp_path}", PROTO.name]
    assert protoc.main(command) == 0
    kept = PROTO.with_suffix(".binpb")
    read = descriptor_pb2.FileDescriptorSet.FromString
    assert read(kept.read_bytes()) == read(out.read_bytes())
    stub = "open_inference_pb2.pyi"
    assert declared((PROTO.parent / stub).read_text()) == declared((tmp_path / stub).read_text())


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_another_copy_of_the_protocol_may_be_loaded_before_or_after(order):
    loads = ["from tritonclient.grpc import service_pb2 as theirs", "from lft_ray.serve.protocols import messages"]
    code = "\n".join(loads[number] for number in order) + (
        "\nours = messages.message('ModelInferRequest')(model_name='classifier', id='7')"
        "\ntwin = theirs.ModelInferRequest.FromString(ours.SerializeToString())"
        "\nassert (twin.model_name, twin.id) == ('classifier', '7')"
        "\nassert type(twin) is not type(ours)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_names_and_numbers_are_those_of_tritons_client():
    from tritonclient.grpc import service_pb2

    theirs = service_pb2.DESCRIPTOR

    def same(own, other):
        for field in own.fields:
            twin = other.fields_by_name[field.name]
            assert (field.number, field.type, field.is_repeated) == (twin.number, twin.type, twin.is_repeated), (
                field.full_name
            )
            if field.message_type is not None:
                same(field.message_type, twin.message_type)

    for method in messages.METHODS:
        twin = theirs.services_by_name["GRPCInferenceService"].methods_by_name[method]
        same(messages.message(f"{method}Request").DESCRIPTOR, twin.input_type)
        same(messages.message(f"{method}Response").DESCRIPTOR, twin.output_type)


def test_messages_can_be_pickled_as_ray_does():
    request = open_inference_pb2.ModelInferRequest(model_name="classifier", id="7")
    assert pickle.loads(pickle.dumps(request)) == request

"""The messages of ``open_inference.proto``, in a descriptor pool of their own.

In: ``open_inference.binpb``, the descriptor that protoc wrote. Out: one class per message, typed by the
``.pyi`` beside this file, which protoc wrote too. After a change of the proto file:

    cd lft_ray/serve/protocols
    python -m grpc_tools.protoc -I. --descriptor_set_out=open_inference.binpb --pyi_out=. open_inference.proto

protoc's own Python output is not used, for two reasons. It registers the messages in the process' common pool, where
another library's copy of the protocol (Triton's client includes one) has the same names, and the second of the two
fails to load. And it only runs with the protobuf release that protoc came with and the one after it, while a descriptor
can be read by all supported releases (5 to 7).
"""

from pathlib import Path

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_BINARY = Path(__file__).with_name("open_inference.binpb")
_POOL = descriptor_pool.DescriptorPool()
[_FILE] = descriptor_pb2.FileDescriptorSet.FromString(_BINARY.read_bytes()).file
_POOL.AddSerializedFile(_FILE.SerializeToString())
DESCRIPTOR = _POOL.FindFileByName(_FILE.name)

for _name, _descriptor in DESCRIPTOR.message_types_by_name.items():
    _class = message_factory.GetMessageClass(_descriptor)
    # Ray pickles messages between its processes, which takes a class that can be found by its name.
    _class.__module__ = __name__
    globals()[_name] = _class

"""Read a sorted table of LevelDB, which is what the ``.index`` file of a checkpoint is.

In: the bytes of the file. Out: its keys and values, in order. Each block is checked against its checksum before it is
read. Never trusts a length: a table that was cut or changed is an error that says where.

A table is blocks, an index of the blocks, and a footer of 48 bytes that says where the index is. A block is entries,
each with the bytes that its key does not share with the key before it, and the places at which keys are written whole.
"""

from collections.abc import Iterator

from lft_ray.models.tensorflow.wire import read_varint
from lft_ray.system.crc32c import masked_crc32c

__all__ = ["read_table"]

_FOOTER_BYTES = 48
_MAGIC = 0xDB4775248B80FB57.to_bytes(8, "little")
_TRAILER_BYTES = 5
"""Kind of compression (1), checksum of the block and that byte (4)."""
_PLAIN, _SNAPPY = 0, 1
_MOST_BLOCK_BYTES = 1 << 30


def read_table(data: bytes) -> dict[bytes, bytes]:
    """Return the entries of a table.

    Raises:
        ValueError: the bytes are no table, or a damaged one; the message is the reason.
    """
    if len(data) < _FOOTER_BYTES:
        raise ValueError(f"it has {len(data)} bytes, and a table has {_FOOTER_BYTES} at least")
    if data[-8:] != _MAGIC:
        raise ValueError(f"it does not end with the mark of a table: got {data[-8:].hex()}, not {_MAGIC.hex()}")
    footer = data[-_FOOTER_BYTES:]
    _, at = _handle(footer, 0)
    index, _ = _handle(footer, at)
    found: dict[bytes, bytes] = {}
    for _, value in _entries(_block(data, index)):
        handle, _ = _handle(value, 0)
        found.update(_entries(_block(data, handle)))
    return found


def _handle(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    """Offset and size of a block, and the position after them."""
    offset, at = read_varint(data, at)
    size, at = read_varint(data, at)
    return (offset, size), at


def _block(data: bytes, handle: tuple[int, int]) -> bytes:
    offset, size = handle
    end = offset + size + _TRAILER_BYTES
    if end > len(data) - _FOOTER_BYTES:
        raise ValueError(f"a block ends at byte {end:,}, and the file has {len(data):,}")
    content, trailer = data[offset : offset + size], data[offset + size : end]
    stored, found = int.from_bytes(trailer[1:], "little"), masked_crc32c(data[offset : offset + size + 1])
    if stored != found:
        raise ValueError(f"the block at byte {offset:,} has the checksum {found:08x}, and {stored:08x} is stored")
    if trailer[0] == _PLAIN:
        return content
    if trailer[0] != _SNAPPY:
        raise ValueError(
            f"the block at byte {offset:,} is packed in way {trailer[0]}; 0 (plain) and 1 (snappy) are known"
        )
    return _unpacked(content)


def _unpacked(content: bytes) -> bytes:
    import pyarrow as pa

    size, _ = read_varint(content, 0)
    if size > _MOST_BLOCK_BYTES:
        raise ValueError(f"a block unpacks to {size:,} bytes")
    try:
        found = pa.decompress(content, decompressed_size=size, codec="snappy", asbytes=True)
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"a block cannot be unpacked: {error}") from error
    return bytes(found)


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    restarts = int.from_bytes(block[-4:], "little")
    end = len(block) - 4 * (restarts + 1)
    if len(block) < 4 or end < 0:
        raise ValueError(f"a block of {len(block)} bytes cannot have {restarts} restarts")
    at, key = 0, b""
    while at < end:
        shared, at = read_varint(block, at)
        own, at = read_varint(block, at)
        size, at = read_varint(block, at)
        if shared > len(key) or at + own + size > end:
            raise ValueError(f"an entry after key {key!r} leaves its block")
        key = key[:shared] + block[at : at + own]
        at += own
        yield key, block[at : at + size]
        at += size

"""Reading TensorBoard's event files, byte by byte, without TensorBoard.

A file is a sequence of records: 8 bytes length, 4 bytes checksum of these, the data, 4 bytes checksum of the data. The
checksum is CRC-32C, turned and shifted so that one of data that holds checksums is no worse. The data is a message of
Protocol Buffers: a sequence of fields, each a number (which field) and a kind (how long it is), then its bytes.

    Event    1: wall time  2: step  5: Summary          Summary    1: Value, repeated
    Value    1: tag  2: float  4: Image  5: Histogram   Image      1: height  2: width  4: PNG
    Histogram    1: min  2: max  3: count  4: sum  5: sum of squares  6: right edges  7: counts of the bins
"""
import struct
from pathlib import Path
from typing import Any, NamedTuple


class Event(NamedTuple):
    """One value that was logged. kind: "scalar" (a float), "histogram" (a dict), "image" (a dict with PNG bytes)."""
    step: int
    tag: str
    kind: str
    value: Any


def read_events(path):
    """The events of one file, or of all event files of a folder. A wrong checksum or a cut record is a ValueError."""
    path, events = Path(path), []
    for file in sorted(path.glob("events.out.tfevents.*")) if path.is_dir() else [path]:
        for record in read_records(file):
            event = fields(record)
            step = event.get(2, [0])[0]
            for summary in event.get(5, []):
                events += (_event(step, fields(value)) for value in fields(summary).get(1, []))
    return [event for event in events if event is not None]


def read_records(path):
    """The data of all records of a file."""
    data, start, records = Path(path).read_bytes(), 0, []
    while start < len(data):
        head, length = data[start : start + 8], int.from_bytes(data[start : start + 8], "little")
        stop = start + 12 + length
        if len(data) < start + 12 or _checksum(head) != data[start + 8 : start + 12]:
            raise ValueError(f"{path}: the length at byte {start} does not match its checksum")
        if len(data) < stop + 4 or _checksum(data[start + 12 : stop]) != data[stop : stop + 4]:
            raise ValueError(f"{path}: the record at byte {start} does not match its checksum")
        records.append(data[start + 12 : stop])
        start = stop + 4
    return records


def fields(message):
    """{number: [values]} of a message: integers, floats, or bytes, which are strings, messages or arrays."""
    found, at = {}, 0
    while at < len(message):
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = _varint(message, at)
        elif kind == 1:
            value, at = struct.unpack_from("<d", message, at)[0], at + 8
        elif kind == 5:
            value, at = struct.unpack_from("<f", message, at)[0], at + 4
        else:
            length, at = _varint(message, at)
            value, at = message[at : at + length], at + length
        found.setdefault(number, []).append(value)
    return found


def _varint(message, at):
    """An integer in groups of 7 bits, the lowest first; the highest bit of a byte says that more follow."""
    value, shift = 0, 0
    while True:
        byte = message[at]
        value, shift, at = value | (byte & 127) << shift, shift + 7, at + 1
        if byte < 128:
            return value, at


def _event(step, value):
    tag = value[1][0].decode("utf-8")
    if 2 in value:
        return Event(step, tag, "scalar", value[2][0])
    if 4 in value:
        image = fields(value[4][0])
        return Event(step, tag, "image", {"height": image[1][0], "width": image[2][0], "png": image[4][0]})
    if 5 in value:
        h = fields(value[5][0])
        edges, counts = (struct.unpack(f"<{len(h[i][0]) // 8}d", h[i][0]) for i in (6, 7))
        facts = {name: h.get(i, [0.0])[0] for i, name in enumerate(("min", "max", "count", "sum", "sum of squares"), 1)}
        return Event(step, tag, "histogram", facts | {"edges": edges, "counts": counts})
    return None


# ---------------------------------------------------------------- CRC-32C (Castagnoli), a byte at a time

def _table():
    """The remainder of each byte: eight steps of division by the polynomial, bits in reverse order."""
    table = []
    for remainder in range(256):
        for _ in range(8):
            remainder = remainder >> 1 ^ (0x82F63B78 if remainder & 1 else 0)
        table.append(remainder)
    return table


_REMAINDERS = _table()


def crc32c(data):
    """The CRC-32C of some bytes."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _REMAINDERS[(crc ^ byte) & 255]
    return crc ^ 0xFFFFFFFF


def _checksum(data):
    crc = crc32c(data)
    return (((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF).to_bytes(4, "little")

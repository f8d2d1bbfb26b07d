"""Files of flow cytometers: the events of a file in the Flow Cytometry Standard, version 3.0 or 3.1.

A file begins with a header: six bytes of version, four spaces, and the first and last byte of the segments TEXT, DATA
and ANALYSIS as right-justified numbers of eight characters. TEXT holds keywords and values between delimiters, the
first of which is its first byte; a doubled delimiter stands for itself. DATA holds one number a channel and event.

Reference: Seamer et al., *Proposed new data file standard for flow cytometry, version FCS 3.0*, Cytometry 28, 1997.
"""

import numpy as np

__all__ = ["parse"]

HEADER = 58
TYPES = {"F": "f4", "D": "f8"}


def parse(content):
    """The events ``{channel: values (N,)}`` of a file's bytes.

    Raises:
        ValueError: If it is no such file, or one whose data this reader does not know: anything but lists of
            floating-point numbers, and of integers of 8, 16 or 32 bits.
    """
    if content[:6] not in (b"FCS3.0", b"FCS3.1"):
        raise ValueError(f"expected a file in FCS 3.0 or 3.1, got one that begins with {content[:6]!r}")
    begin, end, data_begin, data_end = (int(content[i : i + 8] or 0) for i in range(10, 42, 8))
    keys = keywords(content[begin : end + 1].decode("latin-1"))
    if data_begin == 0 or data_end == 0:  # too far into the file for eight characters
        data_begin, data_end = int(keys["$BEGINDATA"]), int(keys["$ENDDATA"])
    count, channels = int(keys["$TOT"]), int(keys["$PAR"])
    kind = type_of(keys, channels)
    table = np.frombuffer(content[data_begin : data_end + 1], kind, count * channels).reshape(count, channels)
    return {keys[f"$P{i + 1}N"]: masked(table[:, i], keys[f"$P{i + 1}R"]) for i in range(channels)}


def keywords(text):
    """The keywords, in capitals, with their values."""
    delimiter, marker = text[0], "\0"
    fields = text.strip()[1:].replace(delimiter * 2, marker).split(delimiter)
    fields = [field.replace(marker, delimiter) for field in fields]
    return {key.strip().upper(): value.strip() for key, value in zip(fields[::2], fields[1::2], strict=False)}


def type_of(keys, channels):
    """The numpy type of a number in DATA."""
    bits = {int(keys[f"$P{i + 1}B"]) for i in range(channels)}
    kind = TYPES.get(keys["$DATATYPE"].upper())
    if kind is None and keys["$DATATYPE"].upper() == "I" and len(bits) == 1 and bits <= {8, 16, 32}:
        kind = f"u{bits.pop() // 8}"
    if kind is None or keys["$MODE"].upper() != "L":
        raise ValueError(f"expected a list of numbers of one size, got {keys['$MODE']}, {keys['$DATATYPE']}, {bits}")
    return ("<" if keys["$BYTEORD"].startswith("1") else ">") + kind


def masked(values, limit):
    """The values as numbers; of integers, only the bits that the channel's range needs."""
    if values.dtype.kind == "u":
        values = values & (2 ** int(np.ceil(np.log2(int(limit)))) - 1)
    return values.astype(float)

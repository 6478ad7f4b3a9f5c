"""Plain data on the wire between the grader and a student's kernel: numbers, text, lists, arrays.

Nothing here can run code: no pickle, no class names, no methods of the sender's objects. Both sides use
it; what comes from the kernel is checked again when it is decoded.
"""

import base64
import json
import struct
import unicodedata

import numpy as np

LARGEST = 64 * 2**20  # bytes of one message to the kernel
LARGEST_ANSWER = 8 * 2**20
DEEPEST = 20
PLAIN = (bool, int, float, str, type(None))


class Refused(ValueError):
    """What came is not plain data."""


def clean(text):
    """A text that can be stored and shown: no half characters, no control characters but two."""
    text = str(text).encode("utf-8", "replace").decode("utf-8")
    return "".join(ch for ch in text if ch in "\n\t" or unicodedata.category(ch) != "Cc")


def encode(value, keep=None, depth=0):
    """Turn a value into JSON.

    Args:
        value: numbers, text, lists, tuples, dicts and numeric arrays, nested
        keep: called with anything else; returns the JSON that stands for it

    Raises:
        Refused: the value holds something else and there is no `keep`, or it is nested too deeply
    """
    if depth > DEEPEST:
        raise Refused(f"data nested more than {DEEPEST} deep")
    kind = type(value)
    if kind in PLAIN:
        return value
    if kind in (list, tuple):
        return {kind.__name__: [encode(v, keep, depth + 1) for v in value]}
    if kind is dict:
        pairs = [[encode(k, None, depth + 1), encode(v, keep, depth + 1)] for k, v in value.items()]
        return {"dict": pairs}
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        plain = np.array(
            value.view(np.ndarray), order="C"
        )  # a subclass and its methods stay behind
        return {"array": [plain.dtype.str, list(plain.shape), _text(plain)]}
    if isinstance(value, np.generic) and value.dtype.kind in "biufc":
        plain = np.array(value)
        return {"scalar": [plain.dtype.str, [], _text(plain)]}
    if keep is None:
        raise Refused(f"a {kind.__name__} is not plain data")
    return keep(value)


def decode(data, fetch=None, depth=0):
    """Turn JSON back into fresh plain values; `fetch` gets what `keep` has made."""
    if depth > DEEPEST:
        raise Refused(f"data nested more than {DEEPEST} deep")
    if type(data) in PLAIN:
        return clean(data) if type(data) is str else data
    if type(data) is not dict:
        raise Refused("the message is malformed")
    if len(data) == 1:
        (tag, body), *_ = data.items()
        if tag in ("list", "tuple"):
            return {"list": list, "tuple": tuple}[tag](decode(v, fetch, depth + 1) for v in body)
        if tag == "dict":
            return {decode(k, None, depth + 1): decode(v, fetch, depth + 1) for k, v in body}
        if tag in ("array", "scalar"):
            array = _array(*body)
            return array if tag == "array" else array[()]
    if fetch is None:
        raise Refused("an object came where plain data was expected")
    return fetch(data)


def _text(array):
    return base64.b64encode(array.tobytes()).decode("ascii")


def _array(dtype, shape, text):
    dtype = np.dtype(str(dtype))
    if dtype.kind not in "biufc" or not all(type(n) is int and n >= 0 for n in shape):
        raise Refused("not a numeric array")
    raw = base64.b64decode(text, validate=True)
    return np.frombuffer(raw, dtype).reshape(shape).copy()


def pack(message, largest=LARGEST):
    """The bytes of a message: its length, then JSON."""
    body = json.dumps(message).encode("utf-8", "backslashreplace")
    if len(body) > largest:
        raise Refused(f"{len(body)} bytes, more than {largest} in one message")
    return struct.pack(">Q", len(body)) + body


def unpack(body):
    try:
        message = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused("the message is not JSON") from error
    if type(message) is not dict:
        raise Refused("the message is malformed")
    return message

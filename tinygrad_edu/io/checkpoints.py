"""Checkpoints: everything that the next training step depends on, in one safetensors file.

    save_checkpoint("run.safetensors", model=model, optimizer=optimizer, step=step)
    step = load_checkpoint("run.safetensors", model=model, optimizer=optimizer)["step"]

A safetensors file is a length, a header in JSON and the numbers of all arrays, one after the other. The header has room for
text, and there goes what is no array: a tree of dicts, lists and plain values as JSON, in which `{"$array": name}` stands where
an array was. So a checkpoint can be read by anybody, and reading one runs nobody's code, as unpickling does.

Three things can go wrong, and each has its answer:
    the process dies while it saves     the file is written under another name and renamed: the previous one survives
    the disk or a copy changes a byte   the sha256 of the whole file stands in its header and is compared
    it is the checkpoint of another     classes, names and shapes are compared, and on a mismatch all parts are put back as
    model or optimizer                  they were
"""
import copy
import hashlib
import json
from pathlib import Path

import numpy as np
import safetensors.numpy

from .. import backend
from ..files import remove_leftovers, write_atomically
from ..tensor import Tensor

_BLANK = "0" * 64                       # stands for the sha256 while it is computed
_MARK = b'\\"sha256\\": \\"'            # what stands before it: JSON inside a string of JSON
_NOTES = "tinygrad_edu"                 # our entry among the header's texts


class CheckpointError(ValueError):
    """A file is damaged, or holds something else than what was asked for; the message names the file."""


# ---------------------------------------------------------------- checkpoints

def save_checkpoint(path, *, step=0, rng=True, keep=None, **parts):
    """Write `parts` to `path`, atomically. Returns the path.

    Of a part that has `state_dict()` (a model, an optimizer, a scheduler, an EMA) that state is saved; any other part is a
    value: arrays, Tensors, numbers, strings, None, and dicts, lists and tuples of them. `rng`: also the state of the
    library's random numbers. `keep`: write to `stem-STEP.suffix` and remove all but the last `keep` of these.
    """
    if keep is not None and keep < 1:
        raise ValueError(f"save_checkpoint: got keep = {keep}, expected 1 or more")
    stateful = {name: part for name, part in parts.items() if hasattr(part, "state_dict")}
    values = {"step": step} | {name: part for name, part in parts.items() if name not in stateful}
    tree = {"classes": {name: type(part).__name__ for name, part in stateful.items()},
            "states": {name: part.state_dict() for name, part in stateful.items()},
            "values": values, "rng": backend.generator().bit_generator.state if rng else None}

    path, base = _numbered(Path(path), step) if keep else Path(path), Path(path)
    tensors = {}
    _write(path, tensors, _pack(tree, (), tensors))
    for old in _all_numbered(base)[: -keep] if keep else ():
        if old != path:
            old.unlink(missing_ok=True)
    return path


def load_checkpoint(path, *, rng=True, **parts):
    """Give each of `parts` the state that `save_checkpoint` saved under its name. Returns the values: "step" and others.

    `rng`: also continue the random numbers where they stopped. Raises CheckpointError, and then nothing was changed.
    """
    path = Path(path)
    tensors, notes = _read(path)
    if notes is None or "classes" not in notes:
        raise CheckpointError(f"{path}: holds weights only, expected a checkpoint; use load_weights")
    tree = _unpack(notes, tensors)
    parts = {name: part for name, part in parts.items() if part is not None}
    for name, part in parts.items():
        saved, own = tree["classes"].get(name), type(part).__name__
        if saved is None:
            raise CheckpointError(f"{path}: holds no state of {name!r}, only of {sorted(tree['classes'])}")
        if saved != own:
            raise CheckpointError(f"{path}: {name} is of the class {saved}, got {own}")

    before = {name: copy.deepcopy(part.state_dict()) for name, part in parts.items()}
    try:
        for name, part in parts.items():
            part.load_state_dict(tree["states"][name])
        if rng and tree["rng"] is not None:
            name, backend.generator().bit_generator.state = "rng", tree["rng"]
    except Exception as error:
        for kept, part in parts.items():
            part.load_state_dict(before[kept])
        raise CheckpointError(f"{path}: {name}: {error.args[0] if error.args else type(error).__name__}") from error
    return tree["values"]


def latest_checkpoint(path):
    """The checkpoint with the highest step among those that `save_checkpoint(path, keep=...)` wrote; None if there is none."""
    return (_all_numbered(Path(path)) or [None])[-1]


def _numbered(path, step):
    return path.with_name(f"{path.stem}-{step:08d}{path.suffix}")


def _all_numbered(path):
    """Those of them that exist, by step."""
    found = {}
    for other in path.parent.glob(f"{path.stem}-*{path.suffix}"):
        step = other.stem[len(path.stem) + 1 :]
        if step.isdigit():
            found[int(step)] = other
    return [found[step] for step in sorted(found)]


# ---------------------------------------------------------------- weights alone

def save_weights(path, state):
    """Write a flat {name: Tensor or array}, such as `model.state_dict()`, to a file that any safetensors library reads."""
    tensors = {}
    for name, value in state.items():
        if not isinstance(value, Tensor) and not backend.is_array(value):
            raise TypeError(f"save_weights: {name} is a {type(value).__name__}, expected a Tensor or an array")
        tensors[name] = _dense(value, name)
    _write(Path(path), tensors, {})


def load_weights(path):
    """{name: Tensor} from a safetensors file of any origin: `model.load_state_dict(load_weights(path))`."""
    tensors, _ = _read(Path(path))
    return {name: Tensor(array) for name, array in tensors.items()}


# ---------------------------------------------------------------- a tree as JSON and arrays

def _pack(value, path, tensors):
    """`value` as JSON can hold it; its arrays go into `tensors`, named by the way that leads to them."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Tensor) or backend.is_array(value):
        name = ".".join(path[1:])
        while name in tensors:              # {"a.b": .., "a": {"b": ..}}
            name += "'"
        tensors[name] = _dense(value, name)
        return {"$tensor" if isinstance(value, Tensor) else "$array": name}
    if isinstance(value, dict) and all(isinstance(key, str) and key[:1] != "$" for key in value):
        return {key: _pack(item, (*path, key), tensors) for key, item in value.items()}
    if isinstance(value, dict):
        return {"$items": [[_pack(key, (*path, "key"), tensors), _pack(item, (*path, str(key)), tensors)]
                           for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        items = [_pack(item, (*path, str(i)), tensors) for i, item in enumerate(value)]
        return items if isinstance(value, list) else {"$tuple": items}
    raise TypeError(f"save_checkpoint: {'.'.join(path[1:])} is a {type(value).__name__}, expected an array, a number, a "
                    "string, None, or dicts, lists and tuples of these")


def _unpack(value, tensors):
    """What `_pack` was given."""
    if isinstance(value, list):
        return [_unpack(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if "$array" in value:
        return tensors[value["$array"]]
    if "$tensor" in value:
        return Tensor(tensors[value["$tensor"]])
    if "$tuple" in value:
        return tuple(_unpack(item, tensors) for item in value["$tuple"])
    if "$items" in value:
        return {_unpack(key, tensors): _unpack(item, tensors) for key, item in value["$items"]}
    return {key: _unpack(item, tensors) for key, item in value.items()}


def _dense(value, name):
    """A Tensor or array of either library as numbers that lie in a row on the host."""
    array = np.asarray(backend.to_numpy(value.data if isinstance(value, Tensor) else value), order="C")
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise TypeError(f"{name} is an array of {array.dtype}, expected bools, integers or floats of at most 64 bits")
    return array


# ---------------------------------------------------------------- the file

def _write(path, tensors, notes):
    notes = json.dumps({"sha256": _BLANK, **notes})
    data = bytearray(safetensors.numpy.save(tensors, {_NOTES: notes}))
    at = data.index(_MARK) + len(_MARK)
    data[at : at + len(_BLANK)] = _digest(data, at)
    write_atomically(path, lambda temporary: temporary.write_bytes(data))
    remove_leftovers(path)


def _read(path):
    """The arrays of a file and our notes in its header, None in a file of another origin. Raises CheckpointError."""
    data = path.read_bytes()
    header = 8 + int.from_bytes(data[:8], "little")
    at = data.find(_MARK, 0, header) + len(_MARK)
    checked = at >= len(_MARK)
    if checked and _digest(data, at) != data[at : at + len(_BLANK)]:
        raise CheckpointError(f"{path}: damaged: got sha256 {_digest(data, at).decode()}, "
                              f"expected {data[at : at + len(_BLANK)].decode(errors='replace')}")
    try:
        tensors = {name: array.copy() for name, array in safetensors.numpy.load(data).items()}
        texts = json.loads(data[8:header]).get("__metadata__", {})
    except (safetensors.SafetensorError, ValueError) as error:
        raise CheckpointError(f"{path}: damaged, or no safetensors file ({len(data)} bytes): {error}") from error
    except KeyError as error:
        raise CheckpointError(f"{path}: holds numbers of type {error}, which NumPy does not have") from error
    if _NOTES in texts and not checked:
        raise CheckpointError(f"{path}: damaged: got no sha256 in its header, expected one")
    return tensors, json.loads(texts[_NOTES]) if checked else None


def _digest(data, at):
    """The sha256 of the file, as 64 bytes of text, as if the 64 bytes at `at` were zeros."""
    digest = hashlib.sha256(data[:at])
    digest.update(_BLANK.encode())
    digest.update(memoryview(data)[at + len(_BLANK) :])
    return digest.hexdigest().encode()

"""Sound and notes: WAV files, spoken digits, and Bach's chorales."""
import json
import struct
from pathlib import Path

import numpy as np

from ..store import DataError, DataFile, check_split, read_checked
from .packed import decode, unzip

FSDD = DataFile("fsdd_subset", "fsdd_subset.zip", 1946730, "c00edb4ebc0e1e431200eb5f8a999213ae0446a4656b97d07ca2043688eb422e",
                "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/heads/master.zip", derived=True)
JSB_ADDRESS = "https://raw.githubusercontent.com/czhuang/JSB-Chorales-dataset/master/"
QUARTERS = DataFile("jsb_chorales", "jsb-chorales-quarter.json", 407200,
                    "2db9329f1881a1d3f49703ec556bf1d6f84b4f6c1d702c156536e93cf31e1c91",
                    JSB_ADDRESS + "jsb-chorales-quarter.json")
VOICES = DataFile("jsb_chorales", "Jsb16thSeparated.json", 1666444,
                  "79294cc374f9252e95ef4b703161524c1c53dc1f712c236f00f1c1f5d54af5a7", JSB_ADDRESS + "Jsb16thSeparated.json")


# ---------------------------------------------------------------- sound

def read_wav(path):
    """(samples, rate) of a WAV file of 16-bit PCM: float32 (N,), for several channels (N, channels), in [-1, 1)."""
    return parse_wav(Path(path).read_bytes(), path)


def parse_wav(data, name):
    """As read_wav, from the bytes of a file: "RIFF", size, "WAVE", then chunks of a name, a size and so many bytes."""
    if len(data) < 12 or data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise DataError(f"{name}: got {data[:12]!r} as the first twelve bytes, expected RIFF, a size and WAVE")
    if int.from_bytes(data[4:8], "little") != len(data) - 8:
        raise DataError(f"{name}: got {len(data)} bytes, expected {int.from_bytes(data[4:8], 'little') + 8} as its header says")

    chunks = _chunks(data, name)
    if not {b"fmt ", b"data"} <= set(chunks) or len(chunks[b"fmt "]) < 16:
        raise DataError(f"{name}: got chunks {sorted(chunks)}, expected 'fmt ' of at least 16 bytes and 'data' among them")
    kind, channels, rate, _, frame, bits = struct.unpack("<HHIIHH", chunks[b"fmt "][:16])
    samples = chunks[b"data"]
    if (kind, bits) != (1, 16) or channels < 1 or rate < 1 or frame != 2 * channels or len(samples) % frame:
        raise DataError(f"{name}: got format {kind}, {bits} bits, {channels} channels, {rate} Hz, {len(samples)} bytes in "
                        f"frames of {frame}, expected format 1, 16 bits and whole frames of 2 bytes a channel")
    samples = np.frombuffer(samples, "<i2").astype(np.float32) / 32768
    return (samples if channels == 1 else samples.reshape(-1, channels)), rate


def _chunks(data, name):
    chunks, start = {}, 12
    while start + 8 <= len(data):
        kind, size = data[start:start + 4], int.from_bytes(data[start + 4:start + 8], "little")
        if start + 8 + size > len(data):
            raise DataError(f"{name}: got {len(data) - start - 8} bytes in chunk {kind!r}, expected {size}")
        chunks.setdefault(kind, data[start + 8:start + 8 + size])
        start += 8 + size + size % 2                        # chunks begin at even places
    return chunks


def load_spoken_digits(split="train", folder=None):
    """Recordings, a list of float32 arrays at 8,000 Hz of different lengths, labels int64 and the speakers' names.

    300 "train" and 60 "test" recordings of six speakers. Free Spoken Digit Dataset, Jackson et al., CC BY-SA 4.0; its rule
    keeps the recordings 0 to 4 of each digit and speaker for the test. A linear model on spectra is right on 0.933.
    """
    check_split("spoken digits", split, ("train", "test"))
    data, path = read_checked(FSDD, folder)
    recordings, labels, speakers = [], [], []
    for name, sound in sorted(unzip(data, path).items()):
        digit, speaker, index = Path(name).stem.split("_")
        if (int(index) < 5) == (split == "test"):
            recordings.append(parse_wav(sound, f"{path}/{name}")[0])
            labels.append(int(digit))
            speakers.append(speaker)
    return recordings, np.array(labels), speakers


# ---------------------------------------------------------------- notes

def parse_chorales(data, name, voices=None):
    """{"train", "valid", "test": pieces} from JSON. A piece is a list of time steps, a step a list of MIDI pitches 0..127.

    With `voices`, every step must have so many, and -1 is silence: pieces are then int64 (steps, voices).
    """
    try:
        parts = json.loads(decode(data, name))
    except json.JSONDecodeError as error:
        raise DataError(f"{name}: got damaged JSON, expected a complete object: {error}") from error
    if not isinstance(parts, dict) or set(parts) != {"train", "valid", "test"}:
        raise DataError(f"{name}: got {sorted(parts) if isinstance(parts, dict) else type(parts).__name__}, "
                        "expected an object of train, valid and test")
    for part, pieces in parts.items():
        _need_list(pieces, f"{name}, {part}")
    return {part: [_piece(piece, f"{name}, {part} {i}", voices) for i, piece in enumerate(pieces)]
            for part, pieces in parts.items()}


def _piece(piece, name, voices):
    lowest = 0 if voices is None else -1
    for t, step in enumerate(_need_list(piece, name)):
        if voices is not None and len(_need_list(step, name)) != voices:
            raise DataError(f"{name}: got {len(step)} voices in step {t}, expected {voices}")
        wrong = [pitch for pitch in _need_list(step, name) if type(pitch) is not int or not lowest <= pitch <= 127]
        if wrong:
            raise DataError(f"{name}: got pitch {wrong[0]!r} in step {t}, expected whole numbers {lowest}..127")
    return piece if voices is None else np.array(piece, np.int64).reshape(len(piece), voices)


def _need_list(value, name):
    if not isinstance(value, list):
        raise DataError(f"{name}: got {type(value).__name__}, expected a list")
    return value


def load_chorales(split="train", separate_voices=False, folder=None, download=False):
    """Chorales by J. S. Bach, 229 "train", 76 "valid" and 77 "test" pieces. Boulanger-Lewandowski et al. 2012.

    A piece is a list of quarter notes, each a list of the pitches that sound, 0 to 4 of 43..96; with separate_voices, an
    array int64 (sixteenth notes, 4): soprano, alto, tenor, bass, of 36..81, -1 for silence. Order and key of the pieces
    differ between the two. Pitches that sound independently of each other need 11.06 nats a quarter note (88 pitches).
    """
    check_split("chorales", split, ("train", "valid", "test"))
    data, path = read_checked(VOICES if separate_voices else QUARTERS, folder, download)
    return parse_chorales(data, path, voices=4 if separate_voices else None)[split]

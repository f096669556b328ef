"""Pictures with what is on them: blood cells with boxes, nuclei with masks, emoji with captions, a bulldozer from all sides.

Pillow opens JPEG and PNG; matplotlib brings it along.
"""
import io
import math
import xml.etree.ElementTree as ET
from dataclasses import dataclass

import numpy as np

from ..store import DataError, DataFile, check_split, read_checked
from .packed import decode, member, unpack_arrays, unzip
from .text import parse_lines

BCCD_CLASSES = ("RBC", "WBC", "Platelets")
BCCD = DataFile("bccd_subset", "bccd_subset.zip", 3434783, "d93dbae7b8ec4067729c15765a47ef273fc20450f945ed9c5fdf30f89874b762",
                "https://github.com/Shenggan/BCCD_Dataset/archive/refs/heads/master.zip", derived=True)
NUCLEI = DataFile("nuclei_dsb2018_subset", "stage1_train_subset.zip", 3165923,
                  "ef2b3b1f75b41243f730ed0265de9473900a129d77229915602b079494d61fe4",
                  "https://data.broadinstitute.org/bbbc/BBBC038/stage1_train.zip", derived=True)
EMOJI = DataFile("emoji_captions", "emoji64.npz", 1264436, "5d158b192023bae022a2c2f0a8f70d8cbbff9e78d60b2b41f0ad9e083e0c2258",
                 "https://github.com/mozilla/fxemoji/archive/refs/heads/master.zip", derived=True)
EMOJI_NAMES = DataFile("emoji_captions", "emoji.tsv", 90031, "867c52a6b13b6fef7a6e80e48754b78074fba3188515b1b5e45754fb380e1e11",
                       "https://github.com/muan/emojilib/archive/refs/heads/main.zip", derived=True)
LEGO = DataFile("nerf_lego", "lego_100x100.npz", 1070820, "e395570b55051fa542b3557c3ad8a90ed9e77f52b0435750ebd0ba1ac2b81ee9",
                "http://cseweb.ucsd.edu/~viscomp/projects/LF/papers/ECCV20/nerf/tiny_nerf_data.npz", derived=True)


# ---------------------------------------------------------------- pictures

def parse_picture(data, name, channels):
    """The pixels in the bytes of a PNG or JPEG file, uint8 (H, W, channels); 1 channel is grey, 3 RGB, 4 RGBA."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
            image.verify()                                  # the checksums of a PNG; after it the file must be opened again
        with Image.open(io.BytesIO(data)) as image:
            pixels = np.asarray(image)
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise DataError(f"{name}: got no whole picture, expected PNG or JPEG: {error}") from error
    found = 1 if pixels.ndim == 2 else pixels.shape[2]
    if found != channels or pixels.dtype != np.uint8:
        raise DataError(f"{name}: got {found} channels of {pixels.dtype}, expected {channels} of uint8")
    return pixels.reshape(*pixels.shape[:2], channels)


# ---------------------------------------------------------------- boxes

@dataclass(frozen=True)
class Boxes:
    """What is on one picture: `boxes` float32 (K, 4), x and y of two corners, in pixels; `names`, one a box."""
    width: int
    height: int
    boxes: np.ndarray
    names: list


def parse_voc(data, name):
    """The Boxes in a Pascal VOC annotation (XML). Raises DataError for a box outside the picture."""
    try:
        root = ET.fromstring(data)
    except ET.ParseError as error:
        raise DataError(f"{name}: got damaged XML, expected a complete annotation: {error}") from error
    width, height = (int(_number(root, f"size/{side}", name)) for side in ("width", "height"))
    objects = root.findall("object")
    boxes = [[_number(item, f"bndbox/{edge}", name) for edge in ("xmin", "ymin", "xmax", "ymax")] for item in objects]
    for x1, y1, x2, y2 in boxes:
        if not (0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height):
            raise DataError(f"{name}: got box {x1:g}, {y1:g}, {x2:g}, {y2:g}, expected one inside {width} x {height} pixels")
    return Boxes(width, height, np.array(boxes, np.float32).reshape(-1, 4), [item.findtext("name", "") for item in objects])


def _number(element, path, name):
    text = element.findtext(path)
    try:
        number = float(text)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"{name}: got {text!r} as {path}, expected a number")
    return number


def load_blood_cells(split="train", folder=None):
    """Images float32 (N, 3, 480, 640) in [0, 1] and lists of boxes float32 (K, 4) and labels int64 (K,), one each an image.

    120 "train" and 40 "test" images, classes in the order of BCCD_CLASSES. BCCD, MIT licence.
    """
    check_split("blood cells", split, ("train", "test"))
    data, path = read_checked(BCCD, folder)
    files = unzip(data, path)
    images, boxes, labels = [], [], []
    for stem in parse_lines(member(files, f"BCCD/ImageSets/Main/{split}.txt", path), path):
        name = f"{path}/{stem}"
        found = parse_voc(member(files, f"BCCD/Annotations/{stem}.xml", path), name)
        pixels = parse_picture(member(files, f"BCCD/JPEGImages/{stem}.jpg", path), name, channels=3)
        if pixels.shape[:2] != (found.height, found.width) or not set(found.names) <= set(BCCD_CLASSES):
            raise DataError(f"{name}: got a picture of {pixels.shape[1]} x {pixels.shape[0]} with {sorted(set(found.names))}, "
                            f"expected {found.width} x {found.height} with {', '.join(BCCD_CLASSES)}")
        images.append(pixels.transpose(2, 0, 1))
        boxes.append(found.boxes)
        labels.append(np.array([BCCD_CLASSES.index(each) for each in found.names], np.int64))
    return np.stack(images).astype(np.float32) / 255, boxes, labels


# ---------------------------------------------------------------- masks

def load_nuclei(folder=None):
    """64 grey images float32 (64, 256, 256) in [0, 1] and a list of masks, bool (K, 256, 256), one mask a nucleus.

    Data Science Bowl 2018, set BBBC038v1 of the Broad Bioimage Benchmark Collection, CC0. Thresholds by Otsu's rule reach
    a mean intersection over union of 0.784.
    """
    data, path = read_checked(NUCLEI, folder)
    return parse_nuclei(unzip(data, path), path)


def parse_nuclei(files, name):
    """Images and masks as in load_nuclei, of files FOLDER/ID/images/ID.png, grey in RGBA, and FOLDER/ID/masks/*.png."""
    images, masks = {}, {}
    for path, content in sorted(files.items()):
        *_, key, kind, _ = path.split("/") if path.count("/") >= 2 else ("", "", "")
        if kind == "images":
            images[key] = parse_picture(content, f"{name}/{path}", channels=4)[:, :, 0]
        elif kind == "masks":
            masks.setdefault(key, []).append(parse_picture(content, f"{name}/{path}", channels=1)[:, :, 0] > 0)
    for key in sorted(set(images) | set(masks)):
        shapes = {mask.shape for mask in masks.get(key, [])}
        if key not in images or shapes != {images[key].shape}:
            raise DataError(f"{name}/{key}: got masks of shapes {sorted(shapes)}, expected those of the image, "
                            f"{images[key].shape if key in images else 'which is missing'}")
        if np.sum(masks[key], axis=0).max() > 1:
            raise DataError(f"{name}/{key}: got masks that overlap, expected one nucleus a pixel")
    if len({image.shape for image in images.values()}) != 1:
        raise DataError(f"{name}: got images of shapes {sorted({i.shape for i in images.values()})}, expected one shape")
    return np.stack(list(images.values())).astype(np.float32) / 255, [np.stack(masks[key]) for key in images]


# ---------------------------------------------------------------- captions and views

def load_emoji(folder=None):
    """995 images float32 (995, 3, 64, 64) in [0, 1] on white, and for each its (category, caption, [keyword, ..]).

    Pictures: Mozilla FxEmojis, CC BY 4.0; keywords: emojilib, MIT; captions: the names in Unicode.
    """
    pictures, path = read_checked(EMOJI, folder)
    images = unpack_arrays(pictures, path, {"images": (np.uint8, ("N", 64, 64, 3))})["images"]
    names = parse_emoji_names(*read_checked(EMOJI_NAMES, folder))
    if len(names) != len(images):
        raise DataError(f"{path}: got {len(images)} images for {len(names)} captions, expected one each")
    return images.transpose(0, 3, 1, 2).astype(np.float32) / 255, names


def parse_emoji_names(data, name):
    """[(category, caption, [keyword, ..])] from a table with tabs between its four columns."""
    header, *rows = [line.split("\t") for line in parse_lines(data, name)]
    if header != ["codepoint", "category", "caption", "keywords"]:
        raise DataError(f"{name}: got columns {header}, expected codepoint, category, caption, keywords")
    for number, row in enumerate(rows, 2):
        if len(row) != 4:
            raise DataError(f"{name}: got {len(row)} columns in line {number}, expected 4")
    return [(category, caption, keywords.split(",")) for _, category, caption, keywords in rows]


@dataclass(frozen=True)
class Views:
    """Pictures of one thing from many sides. `images` float32 (N, H, W, 3) in [0, 1] on black, `alpha` float32 (N, H, W).

    `poses` float32 (N, 4, 4): from camera to world; a camera looks along its -z. `focal`: focal length in pixels.
    """
    images: np.ndarray
    alpha: np.ndarray
    poses: np.ndarray
    focal: float


def load_lego(folder=None):
    """The Views of a Lego bulldozer, 100 of 100 x 100 pixels. Mildenhall et al. 2020 (NeRF); CC BY-NC, Heinzelnisse."""
    return parse_views(*read_checked(LEGO, folder))


def parse_views(data, name):
    """The Views in an .npz of images and alpha in bytes, poses and focal. Raises DataError for a pose that is no rotation."""
    arrays = unpack_arrays(data, name, {"images": (np.uint8, ("N", "H", "W", 3)), "alpha": (np.uint8, ("N", "H", "W")),
                                        "poses": (np.float32, ("N", 4, 4)), "focal": (np.float64, ())})
    turns = arrays["poses"][:, :3, :3].astype(np.float64)
    off = abs(turns @ turns.transpose(0, 2, 1) - np.eye(3)).max(initial=0)
    if not off < 1e-4 or not arrays["focal"] > 0:
        raise DataError(f"{name}: got focal length {arrays['focal']} and poses {off:.2g} off a rotation, expected a positive "
                        "one and rotations")
    images, alpha = (arrays[key].astype(np.float32) / 255 for key in ("images", "alpha"))
    return Views(images, alpha, arrays["poses"], float(arrays["focal"]))

"""Floor 4: data that a lesson can trust.

Digits that ship with the library; drawn faces and shapes, with readers that know what they show; densities in the plane,
series and languages that know how well they can be predicted; real data sets from a folder, the cache or their home, each
file checked by its sha256; batches(), which shuffles arrays into Tensors, and DataLoader, which makes them ahead of time;
transforms of pictures.
"""
from . import pictures, scenes, series, shapes, text, transforms, worlds
from .batching import batches
from .dataset import ConcatDataset, Subset, TensorDataset, default_collate, random_split
from .digits import binarize, levels, load_digits
from .faces import FACE_ATTRIBUTES, FACE_FACTORS, draw_faces, fit_faces, random_faces, read_faces
from .load.cifar10 import CIFAR10_CLASSES, load_cifar10, parse_cifar10, read_cifar10
from .load.idx import load_fashion_mnist, load_mnist, parse_idx, read_idx
from .load.scenes import (BCCD_CLASSES, Boxes, Views, load_blood_cells, load_emoji, load_lego, load_nuclei, parse_picture,
                          parse_views, parse_voc)
from .load.sound import load_chorales, load_spoken_digits, parse_chorales, parse_wav, read_wav
from .load.stories import load_stories, parse_llama, parse_pieces
from .load.table import load_apple, parse_csv, parse_prices
from .load.text import (load_french, load_names, load_polarity, load_recipes, load_reviews, load_shakespeare, parse_lines,
                        parse_pairs, read_text)
from .loader import DataLoader
from .points import separable, sparse_linear, xor
from .store import DataError, DataFile, MissingDataError, cache_folder, check_bytes, read_checked
from .toy2d import Checkerboard, Circles, Curves, EightGaussians, Grid25, Mixture, SwissRoll, TwoMoons, TwoSpirals

"""Floor 4: data that a lesson can trust.

Digits that ship with the library; drawn faces and a reader that knows what they show; densities in the plane that know
their own entropy; MNIST and Fashion-MNIST from a folder, the cache or their home, each file checked by its sha256; and
batches(), which shuffles arrays into Tensors.
"""
from . import pictures, transforms
from .batching import batches
from .dataset import ConcatDataset, Subset, TensorDataset, default_collate, random_split
from .digits import binarize, levels, load_digits
from .faces import FACE_ATTRIBUTES, FACE_FACTORS, draw_faces, fit_faces, random_faces, read_faces
from .load.cifar10 import CIFAR10_CLASSES, load_cifar10, parse_cifar10, read_cifar10
from .load.idx import load_fashion_mnist, load_mnist, parse_idx, read_idx
from .load.text import (load_french, load_names, load_polarity, load_recipes, load_reviews, load_shakespeare, parse_lines,
                        parse_pairs, read_text)
from .loader import DataLoader
from .points import separable, xor
from .store import DataError, DataFile, MissingDataError, cache_folder, check_bytes, read_checked
from .toy2d import Checkerboard, Circles, Curves, EightGaussians, Grid25, Mixture, SwissRoll, TwoMoons, TwoSpirals

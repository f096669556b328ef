"""Lesson 56: CLIP: pictures and sentences in one space

Lesson 55 learned from pictures without labels, and ended as all classifiers do: with a list of classes, fixed on the day of
training, and some labels for each. Ask for a class that is not on the list, and there is no output for it.

Pictures come with sentences, though, and a sentence can name what nobody listed. So train two networks, one for pictures and
one for sentences, to send what belongs together to the same point, and all else somewhere else. Then searching is measuring a
distance, and a class is a sentence. You will write the loss in six lines and see that it treats both sides alike; find the
right one of 200 sentences for a picture, and the right picture for a sentence; leave out the strangers, and see all of it
collapse into one point; change a single word of a caption; and name shapes in colours in which they were never shown, once the
pictures were lit by coloured lamps.
Expected: recall@1 above 0.9 among 200 (chance 0.005).

Papers: Radford et al. 2021, arXiv:2103.00020 (published: 76.2 % of ImageNet without one of its labels); van den Oord, Li &
Vinyals 2018, arXiv:1807.03748 (InfoNCE); Thrush et al. 2022, arXiv:2204.03162 (what such a network does not understand).
"""
# %%
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from tinygrad_edu import Tensor, exp, functional as F, grad, no_grad, optim
from tinygrad_edu.data import batches, load_emoji, pictures
from tinygrad_edu.data.shapes import SHAPE_COLORS, SHAPE_KINDS, Shape, caption, draw_shapes, random_shapes, read_caption
from tinygrad_edu.data.transforms import Compose, RandomAffine, RandomHorizontalFlip
from tinygrad_edu.lesson import Lesson
from tinygrad_edu.metrics import recall_at_k
from tinygrad_edu.models.multimodal.clip import CLIP, ImageEncoder, TextEncoder
from tinygrad_edu.viz import panels, plot_curves, show_grid

lesson = Lesson("56_clip", real_data="the emoji and their names")
rng = np.random.default_rng(lesson.seed)

# %% [markdown]
# ## Who belongs to whom?
#
# N pictures and their N captions, as vectors of length 1: x_i and t_i. Their cosines x_i t_j' are N^2 numbers, and on the
# diagonal stand the N that should be large. Read a row as logits: which of the captions belongs to picture i? That is a
# classifier with N classes, whose names are in the batch. Read a column: which of the pictures belongs to caption j? The loss
# is the mean of both. A cosine is at most 1, so the largest logit could never be far from the others; therefore all are
# divided by a temperature, and the network learns that too (as a logarithm, so that it cannot become negative).

# %%
def by_hand(x, t, log_scale):
    """x, t (N, D): the loss, and its derivative by the logarithm of 1 / temperature."""
    unit = [v / np.sqrt((v ** 2).sum(axis=1, keepdims=True)) for v in (x, t)]
    logits = math.exp(log_scale) * unit[0] @ unit[1].T
    rows, columns = (part - np.log(np.exp(part).sum(axis=axis, keepdims=True)) for axis, part in ((1, logits), (0, logits)))
    slope = sum(logits - (np.exp(part) * logits).sum(axis=axis, keepdims=True) for axis, part in ((1, rows), (0, columns)))
    return -np.trace(rows + columns) / (2 * len(x)), -np.trace(slope) / (2 * len(x))

x, t = rng.standard_normal((2, 6, 8))
log_scale = Tensor(math.log(1 / 0.07), requires_grad=True, dtype="float64")
loss = F.info_nce_loss(Tensor(x), Tensor(t), exp(-log_scale), symmetric=True)
(slope,) = grad(loss, [log_scale])
error = np.abs(np.array(by_hand(x, t, log_scale.item())) - (loss.item(), slope.item())).max()
lesson.claim("the loss and the temperature's gradient, by hand", error, "<=", 1e-12, row="R01", kind="E")

def unfairness(symmetric):
    """How much the loss changes when pictures and captions change sides."""
    losses = [F.info_nce_loss(*sides, 0.07, symmetric=symmetric) for sides in ((Tensor(x), Tensor(t)), (Tensor(t), Tensor(x)))]
    return abs(losses[0].item() - losses[1].item())

lesson.claim("pictures and captions change sides: change of the loss", unfairness(True), "<=", 1e-12, row="R01", kind="E",
             baseline=unfairness(False))

# %% [markdown]
# ## Pictures with sentences
#
# A shape in a picture, and what is to be seen there. Of the 24 pairs of a colour and a kind, four are kept for the end: two
# kinds in one colour, the other two in another. No picture or caption with one of them is ever trained on, though each colour
# and each kind is, with others. A sentence is a row of word numbers; 0 ends it.

# %%
SIDE, LENGTH = 24, 9
colors, kinds = rng.permutation(list(SHAPE_COLORS)).tolist(), rng.permutation(SHAPE_KINDS).tolist()
unseen = {(colors[i // 2], kind) for i, kind in enumerate(kinds)}

def is_unseen(scene):
    return (scene[0].color, scene[0].kind) in unseen

def numbered(texts, number, length=LENGTH):
    """Sentences as word numbers int64 (N, length); a word without a number is left out."""
    ids = np.zeros((len(texts), length), np.int64)
    for row, text in zip(ids, texts):
        known = [number[word] for word in text.split() if word in number][: length - 1]
        row[: len(known)] = known
    return ids

scenes = [scene for scene in random_shapes(lesson.pick(6000, 240), SIDE) if not is_unseen(scene)]
captions = [caption(scene, SIDE) for scene in scenes]
number = {word: i for i, word in enumerate(sorted({word for text in captions for word in text.split()}), 1)}
images, ids = draw_shapes(scenes, SIDE), numbered(captions, number)

CANDIDATES = lesson.pick(200, 40)
others = {caption(scene, SIDE): scene for scene in random_shapes(10 * CANDIDATES, SIDE) if not is_unseen(scene)}
test_captions = list(others)[:CANDIDATES]                                   # no two are equal
test_images, test_ids = draw_shapes(list(others.values())[:CANDIDATES], SIDE), numbered(test_captions, number)
print(f"{len(images)} pictures, {len(number)} words; not trained on: {', '.join(' '.join(pair) for pair in sorted(unseen))}")
print("  " + "\n  ".join(test_captions[:3]))

# %% [markdown]
# ## Two networks
#
# Convolutions and one look over the whole picture (attention, lesson 29) make a vector of a picture; a Transformer that reads
# from left to right makes one of a sentence, taken where it ends. Neither knows of the other, or of colours and kinds.
#
# In each epoch every picture gets a lamp of its own: its red, green and blue are each made 0.3 to 1 times as bright. A red
# shape stays a red shape, and how the lamp shines is to be seen on the ground. What that is good for comes at the end.
#
# And two ablations. What belongs together shall be together: why not say only that, 1 - cosine? (That network gets a sixth of
# the epochs; after that its loss is 0, and there is nothing more to learn.) And one network sees all pictures in white light.

# %%
EMBED = 64

def new_model(number, side=SIDE, length=LENGTH):
    return CLIP(ImageEncoder(side, EMBED), TextEncoder(len(number) + 1, length, end=0, embed=EMBED, layers=1))

def with_strangers(model, images, ids):
    return model.loss(images, ids)

def pairs_only(model, images, ids):
    return (1 - F.cosine_similarity(model.image_encoder(images), model.text_encoder(ids))).mean()

def train(model, loss_of, fresh, test, epochs, lr=3e-3, batch_size=128):
    """AdamW, the step size up at first and then down to 0; fresh() gives an epoch's pictures and ids. Gives the recall@1 on
    `test`, pictures and ids, after each epoch."""
    optimizer, recalls, step = optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.98), weight_decay=0.05), [], 0
    steps = epochs * (len(fresh()[0]) // batch_size)
    for _ in lesson.progress(range(epochs), loss_of.__name__):
        model.train()
        for shown, said in batches(*fresh(), batch_size=batch_size, drop_last=True):
            optimizer.param_groups[0]["lr"] = lr * min(1, (step + 1) / 50, 2 * (1 - step / steps))
            loss = loss_of(model, shown, said)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            model.clip_scale()
            step += 1
        recalls.append(recall_at_k(cosines(model.eval(), *test)))
    return recalls

def points(encode, inputs):
    """Where pictures or sentences lie on the sphere (N, EMBED)."""
    with no_grad():
        return encode(Tensor(inputs)).numpy()

def cosines(model, images, ids):
    """Pictures down, sentences across (N, M)."""
    return points(model.encode_image, images) @ points(model.encode_text, ids).T

def under_lamps(images, darkest=0.3):
    return images * rng.uniform(darkest, 1, (len(images), 3, 1, 1)).astype(np.float32)

models, recalls = {}, {}
for name, loss_of, darkest, epochs in (("CLIP", with_strangers, 0.3, lesson.pick(24, 1)),
                                       ("white light", with_strangers, 1, lesson.pick(24, 1)),
                                       ("pairs only", pairs_only, 0.3, lesson.pick(4, 1))):
    models[name] = new_model(number)
    recalls[name] = train(models[name], loss_of, lambda: (under_lamps(images, darkest), ids), (test_images, test_ids), epochs,
                          batch_size=lesson.pick(128, 32))

# %% [markdown]
# ## Search
#
# 200 pictures that were not trained on, no two with equal captions. For each picture, is its own caption the nearest
# (recall@1)? For each caption, is its own picture among the five nearest (recall@5)?

# %%
found = {name: cosines(model, test_images, test_ids) for name, model in models.items()}
clip, collapsed, apart = found["CLIP"], found["pairs only"], ~np.eye(CANDIDATES, dtype=bool)
print(f"among {CANDIDATES}                            recall@1   recall@5")
print(f"  {'chance':<31} {1 / CANDIDATES:>8.3f} {5 / CANDIDATES:>10.3f}")
for name, matrix in found.items():
    for way, scores in ((f"{name}, picture -> caption", matrix), (f"{name}, caption -> picture", matrix.T)):
        print(f"  {way:<31} {recall_at_k(scores):>8.3f} {recall_at_k(scores, 5):>10.3f}")
lesson.claim("picture -> caption: recall@1 among 200", recall_at_k(clip), ">=", 0.9, row="R01", kind="O",
             baseline=recall_at_k(collapsed), oracle=1)
lesson.claim("caption -> picture: recall@5 among 200", recall_at_k(clip.T, 5), ">=", 0.98, row="R03", kind="O",
             baseline=recall_at_k(collapsed.T, 5), oracle=1)

# %% [markdown]
# Without the strangers the loss went to 0 all the same: all is sent to one point, which is as near to its partner as can be,
# and to everybody else. The strangers of the batch keep the points apart, so a large batch is more than a matter of speed; the
# paper's had 32,768 pairs. The temperature fell: the better the points lie, the more sharply the loss may ask. (As in the
# paper it is held above 0.01, for the sake of stability.)

# %%
print(f"pairs only: cosine with the own caption {np.diag(collapsed).mean():.4f}, with all others {collapsed[apart].mean():.4f}")
lesson.claim("pairs only: cosine of what does not belong together", collapsed[apart].mean(), ">=", 0.9, row="R01", kind="C",
             baseline=clip[apart].mean(), oracle=1)
temperature = models["CLIP"].temperature().item()
lesson.claim("temperature: lower than at the start, not below 0.01", temperature, "in", (0.01, 0.06), row="R01", kind="C",
             baseline=0.07)

# %% [markdown]
# ## One word is wrong
#
# Strangers are easy to tell: most of their words are wrong. So take the picture's own caption, change one thing in it, a size,
# colour, kind or place, and ask which of the two is nearer. (`read_caption` makes a scene of a sentence, `caption` makes a
# sentence of the changed scene.)

# %%
SIZES, PLACES = (3.0, 5.0), [(x, y) for x in (4.0, 12.0, 20.0) for y in (4.0, 12.0, 20.0)]
CHANGES = {
    "size": lambda shape: [replace(shape, radius=radius) for radius in SIZES],
    "colour": lambda shape: [replace(shape, color=color) for color in SHAPE_COLORS],
    "kind": lambda shape: [replace(shape, kind=kind) for kind in SHAPE_KINDS],
    "place": lambda shape: [replace(shape, x=x, y=y) for x, y in PLACES],
}

def one_thing_changed(text, options):
    texts = [caption([shape], SIDE) for shape in options(*read_caption(text, SIDE))]
    return str(rng.choice([other for other in texts if other != text]))

def rejected(model, texts):
    """Share of the test pictures that are nearer to their own caption than to the other text."""
    own, other = (np.diag(cosines(model, test_images, ids)) for ids in (test_ids, numbered(texts, number)))
    return (own > other).mean()

wrong = {thing: [one_thing_changed(text, options) for text in test_captions] for thing, options in CHANGES.items()}
share = {name: {thing: rejected(model, texts) for thing, texts in wrong.items()} for name, model in models.items()}
for name, shares in share.items():
    print(f"  {name:<12} rejected, chance 0.5:  " + "   ".join(f"{thing} {value:.3f}" for thing, value in shares.items()))
lesson.claim("captions with one thing wrong: rejected", np.mean([*share["CLIP"].values()]), ">=", 0.9, row="R03", kind="O",
             baseline=np.mean([*share["pairs only"].values()]), oracle=1)

# %% [markdown]
# ## A class is a sentence
#
# Now the four pairs of colour and kind that were kept. Nobody trained a classifier; we make one out of words. Each pair is said
# in 18 ways, both sizes and nine places; a picture belongs to the class of the nearest of these sentences. First the classes
# are the four new ones: neither the colour alone nor the kind alone tells which, and chance is 1 / 4. Then all 24 are allowed,
# chance 1 / 24, and it shows how a third kind in a colour that was seen with two tends to be called by one of those. Whoever
# trains is drawn to what there was (Chao et al. 2016, arXiv:1605.04253, who found the same in photographs).

# %%
classes = [(color, kind) for color in SHAPE_COLORS for kind in SHAPE_KINDS]
prompts = [[caption([Shape(kind, color, x, y, radius)], SIDE) for radius in SIZES for x, y in PLACES]
           for color, kind in classes]
singles = random_shapes(lesson.pick(2000, 100), SIDE)
truth = np.array([classes.index((scene[0].color, scene[0].kind)) for scene in singles])
new, new_classes = np.array([is_unseen(scene) for scene in singles]), np.array([pair in unseen for pair in classes])
pool, prompt_ids = draw_shapes(singles, SIDE), numbered(sum(prompts, []), number)

def naming(of_pictures, of_sentences):
    """Points: which of the 24 each picture is called, and the shares named right: new of 4, new of 24, trained on of 24."""
    scores = (of_pictures @ of_sentences.T).reshape(len(of_pictures), 24, 18).max(axis=2)
    of_all, of_new = scores.argmax(axis=1), np.where(new_classes, scores, -1).argmax(axis=1)
    return of_all, [(said == truth)[group].mean() for said, group in ((of_new, new), (of_all, new), (of_all, ~new))]

named, right = {}, {}
for name, model in models.items():
    named[name], right[name] = naming(points(model.encode_image, pool), points(model.encode_text, prompt_ids))
    print("  {:<12} named right: never seen, of those 4 {:.3f}, of all 24 {:.3f}; trained on, of all 24 {:.3f}".format(
        name, *right[name]))
lesson.claim("colour and kind never seen together: named, of 4", right["CLIP"][0], ">=", 0.8, row="R02", kind="O",
             baseline=right["pairs only"][0], oracle=1)

# %% [markdown]
# Which of the two networks cannot put together what it knows, in white light? Suppose that a point were a sum, one vector for
# each word of the caption. Fit the vectors to what was trained on (least squares), and put sums in the place of the points.
# Sums for the pictures (which are told what is to be seen) are found by the sentences of the new pairs; sums for the sentences
# change little. So the sentences were put together well, and it is the network of the pictures that fails. It knows the colour,
# but reads the kind wrong: in each of the two colours it was shown two kinds, had only these two to tell apart, and may do that
# by filters for this one colour. Six colours are six exact points, and nothing asks what lies between them. Under lamps every
# kind is seen in many colours, and the filters that find its corners have to do without the colour.
#
# (The darkest lamp and the epochs were chosen on other seeds. On three of them, taken because white light did badly there, it
# left 0.48, 0.86 and 0.94 of the new pairs named right, and lamps made that 0.98, 0.91 and 0.99. Lamps down to 0.15 did nearly
# as well, 0.5 is too little. Grey pictures, words left out of captions and stronger weight decay did not help on every seed.
# Which pairs are kept matters too: on seeds 0 to 4 white light names 0.67 to 1.00 of the new ones right, and of all 24 0.43 to
# 0.96; lamps 0.91 to 0.99, and 0.73 to 0.93.)

# %%
def of_sums(points, ids, fit):
    """The points that sums of one vector a word would give, fitted to those of the rows `fit`."""
    said = (ids[:, :, None] == np.arange(1, len(number) + 1)).any(axis=1).astype(np.float64)
    sums = said @ np.linalg.lstsq(said[fit], points[fit], rcond=None)[0]
    return sums / np.sqrt((sums ** 2).sum(axis=1, keepdims=True))

pool_ids = numbered([caption(scene, SIDE) for scene in singles], number)
for name in ("CLIP", "white light"):
    seen, read = points(models[name].encode_image, pool), points(models[name].encode_text, prompt_ids)
    sums = of_sums(seen, pool_ids, ~new), of_sums(read, prompt_ids, ~np.repeat(new_classes, 18))
    shares = [naming(*pair)[1][0] for pair in ((seen, read), (sums[0], read), (seen, sums[1]))]
    print("  {:<12} new, of those 4: {:.3f}, with sums for pictures {:.3f}, for sentences {:.3f}".format(name, *shares))

# %% [markdown]
# ## The real thing
#
# `--data FOLDER`: 995 emoji, each with its name and some key words, 199 of them kept for the test. Some 800 pairs are very few
# (the paper had 400 million), and nearly a quarter of the words of a test text was never seen in training. In every epoch each
# picture is moved a little and perhaps mirrored, and of its words some are left out and all are shuffled. About a minute. (The
# bounds come from a single trial, seed 0: 21 and 9 times chance. Another draw gave 17 and 8.9.)

# %%
def emoji():
    """Recall@1 and recall@10, picture -> words, among the 199 emoji kept for the test."""
    drawings, names = load_emoji(lesson.data)
    drawings = 1 - pictures.resize(drawings, 32)                            # white paper is 0, like what moves in from outside
    texts = [list(dict.fromkeys(" ".join([name, *keys]).replace("-", " ").split())) for _, name, keys in names]
    order, length = rng.permutation(len(texts)), 16
    kept, rest = order[:199], order[199:]
    number = {word: i for i, word in enumerate(sorted({word for i in rest for word in texts[i]}), 1)}
    augment = Compose([RandomHorizontalFlip(), RandomAffine(degrees=10, translate=0.06, scale=(0.9, 1.1))])

    def fresh():
        some = [" ".join(word for word in rng.permutation(texts[i]) if rng.random() < 0.7) for i in rest]
        return augment(drawings[rest]), numbered(some, number, length)

    test = drawings[kept], numbered([" ".join(texts[i]) for i in kept], number, length)
    model = new_model(number, 32, length)
    train(model, with_strangers, fresh, test, lesson.pick(60, 1), lr=2e-3)
    scores = cosines(model, *test)
    return recall_at_k(scores), recall_at_k(scores, 10)

if lesson.data is not None:
    at_1, at_10 = emoji()
    lesson.claim("emoji: recall@1 among 199, times chance", at_1 * 199, ">=", 10, row="R03", kind="O", baseline=1)
    lesson.claim("emoji: recall@10 among 199, times chance", at_10 * 199 / 10, ">=", 6, row="R03", kind="O", baseline=1)

# %% [markdown]
# ## Where to read on
#
# Every lesson names its papers at the top, and the next cell counts whether that is so. Where to go for a whole field:
#
# - books: Goodfellow, Bengio & Courville, *Deep Learning* (2016); Murphy, *Probabilistic Machine Learning* (2022, 2023);
#   Prince, *Understanding Deep Learning* (2023); Sutton & Barto, *Reinforcement Learning* (2018);
# - courses: Stanford's CS231n (pictures, lessons 13-22), CS224n (language, 23-34) and CS236 (generative models, 35-54);
#   Karpathy's *Neural Networks: Zero to Hero* (01-33);
# - journals and blogs: Distill, which let its readers turn the knobs; Lil'Log, whose surveys are longer than papers.

# %%
if not lesson.in_notebook:
    neighbours = [path for path in sorted(Path(__file__).parent.glob("[0-9][0-9]_*.py")) if not path.name.startswith("00")]
    unread = sum(re.search("^Papers?: ", path.read_text(encoding="utf-8"), re.M) is None for path in neighbours)
    lesson.claim("lessons that do not name their papers", unread, "==", 0, row="X11", kind="S", oracle=0)

# %%
if lesson.draws:
    figure, axes = panels(2, 2, size=(15, 10))
    few, panel = min(8, CANDIDATES), axes[0, 0]
    panel.imshow(clip[:few, :few].T, cmap="Blues", vmin=-1, vmax=1, extent=(0, few, few, 0))
    for i, image in enumerate(test_images[:few]):
        panel.imshow(image.transpose(1, 2, 0), extent=(i + 0.05, i + 0.95, -0.1, -1))
        for j in range(few):
            panel.text(i + 0.5, j + 0.5, f"{clip[i, j]:.2f}", ha="center", va="center", fontsize=8,
                       color="white" if clip[i, j] > 0.5 else "#26323c")
    panel.set(xlim=(0, few), ylim=(few, -1.05), xticks=[])
    panel.set_yticks(np.arange(few) + 0.5, [text.replace(" and ", "\nand ") for text in test_captions[:few]], fontsize=7)
    panel.grid(False)
    panel.set_title("Cosines of pictures and captions that were not trained on", loc="left", fontsize=11)

    curves = {name: (np.arange(1, len(values) + 1), values) for name, values in recalls.items()}
    plot_curves(curves, "epoch", f"recall@1 among {CANDIDATES}", axes=axes[0, 1],
                title="With and without strangers, and lamps")

    panel, hits = axes[1, 0], named["CLIP"] == truth
    table = np.array([hits[truth == i].mean() if (truth == i).any() else 0 for i in range(24)]).reshape(6, 4)
    panel.imshow(table, cmap="Blues", vmin=0, vmax=1.6, aspect="auto")
    for i, pair in enumerate(classes):
        panel.text(i % 4, i // 4, f"{table.flat[i]:.2f}" + " (never seen)" * (pair in unseen), ha="center", va="center",
                   color="#bd1f01" if pair in unseen else "#26323c")
    panel.set_xticks(range(4), SHAPE_KINDS)
    panel.set_yticks(range(6), list(SHAPE_COLORS))
    panel.grid(False)
    panel.set_title("Named right, of 24 classes that are sentences", loc="left", fontsize=11)

    asked = [prompts[i][4] for i, pair in enumerate(classes) if pair in unseen]         # each "a small .. in the middle"
    best = np.argsort(-cosines(models["CLIP"], pool, numbered(asked, number)), axis=0)[:8]
    show_grid({text: pool[best[:, i]] for i, text in enumerate(asked)}, axes=axes[1, 1],
              title=f"Search: the eight nearest of {len(pool)} pictures")
    lesson.save(figure)

lesson.finish()

# %% [markdown]
# ## Things to try
#
# - Batches of 8 instead of 128, with 16 times as many steps. How far does recall fall, when there are seven strangers?
# - Two shapes in a picture (`objects=2`), and captions in which they exchange their colours: the same words, in another order.
#   Are they rejected as often? (The large networks of the world mostly cannot do that: Thrush et al.)
# - Hold the temperature at 1. Which is the smallest loss that there can be, with 128 pairs?
# - Give the text encoder no places, so that it reads a bag of words. Which of the claims does it miss?
# - Lesson 57 goes the other way: it writes the sentence.

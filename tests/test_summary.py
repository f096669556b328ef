"""nn.summary: shapes, parameters and FLOPs, the last on counts made by hand."""
import pytest

import tinygrad_edu as tg
from tinygrad_edu import nn


def row(text, title):
    """(shape, parameters, FLOPs) of the line that begins with `title`."""
    (line,) = [line for line in text.splitlines() if line.strip().startswith(title)]
    *_, parameters, flops = line.split()
    return line[line.find("("):line.rfind(")") + 1].split(") ")[-1].strip(), parameters, flops


def test_a_small_convolutional_net(capsys):
    net = nn.Sequential({"conv": nn.Conv2d(3, 8, 3, padding=1), "norm": nn.BatchNorm2d(8), "act": nn.ReLU(),
                         "pool": nn.MaxPool2d(2), "flat": nn.Flatten(), "head": nn.Linear(8 * 4 * 4, 10)})
    before = net.state_dict()
    text = nn.summary(net, (2, 3, 8, 8))
    assert capsys.readouterr().out == text + "\n"
    assert row(text, "Conv2d") == ("(2, 8, 8, 8)", "224", f"{2 * 3 * 9 * (2 * 8 * 8 * 8):,}")
    assert row(text, "BatchNorm2d") == ("(2, 8, 8, 8)", "16", "-")
    assert row(text, "MaxPool2d") == ("(2, 8, 4, 4)", "-", "-")
    assert row(text, "Linear") == ("(2, 10)", "1,290", f"{2 * 2 * 128 * 10:,}")
    assert text.splitlines()[-1].split() == ["total", "1,530", f"{2 * 27 * 1024 + 2 * 2 * 1280:,}"]
    assert net.training and not any(isinstance(m, nn.module.Hooked) for m in net.modules())
    assert all((before[name].data == value.data).all() for name, value in net.state_dict().items())


@pytest.mark.parametrize("layer, shape, count", [
    (nn.Linear(5, 3), (4, 7, 5), 2 * 28 * 5 * 3),
    (nn.Conv1d(4, 6, 3, groups=2), (2, 4, 10), 2 * (2 * 6 * 8) * (2 * 3)),
    (nn.Conv2d(4, 6, (3, 2), stride=2), (1, 4, 9, 8), 2 * (6 * 4 * 4) * (4 * 6)),
    (nn.ConvTranspose1d(4, 6, 3, 2), (2, 4, 5), 2 * (2 * 4 * 5) * (6 * 3)),
    (nn.ConvTranspose2d(4, 6, 3, groups=2), (1, 4, 5, 5), 2 * 100 * (3 * 9)),
    (nn.RNN(5, 7), (6, 2, 5), 2 * 12 * (5 + 7) * 7),
    (nn.LSTM(5, 7, batch_first=True), (2, 6, 5), 2 * 12 * (5 + 7) * 4 * 7),
    (nn.GRU(5, 7, num_layers=2, bidirectional=True), (6, 2, 5), 2 * 12 * 3 * 7 * 2 * ((5 + 7) + (14 + 7))),
    (nn.weight_norm(nn.Linear(5, 3)), (4, 5), 2 * 4 * 5 * 3),
])
def test_flops_by_hand(layer, shape, count, capsys):
    assert nn.summary(layer, shape).splitlines()[-1].split()[-1] == f"{count:,}"


@pytest.mark.parametrize("batch_first", [False, True])
def test_flops_of_attention_by_hand(batch_first, capsys):
    N, T, S, E = 2, 3, 5, 8
    layer = nn.MultiheadAttention(E, 4, batch_first=batch_first)
    q, k = (tg.randn(N, t, E) if batch_first else tg.randn(t, N, E) for t in (T, S))
    own = 2 * N * (T * E * E + 2 * S * E * E + S * T * E + S * T * E)           # in, keys and values, scores, sums
    text = nn.summary(layer, q, k, k)
    assert row(text, "MultiheadAttention")[1:] == (f"{3 * E * E + 3 * E}", f"{own:,}")
    assert text.splitlines()[-1].split()[1:] == [f"{4 * E * E + 4 * E}", f"{own + 2 * N * T * E * E:,}"]


def test_a_layer_called_twice_counts_twice_and_learns_once(capsys):
    class Twice(nn.Module):
        def __init__(self):
            self.layer, self.unused = nn.Linear(4, 4), nn.ModuleList([nn.Linear(4, 2)])

        def forward(self, x):
            return self.layer(self.layer(x))

    text = nn.summary(Twice(), (3, 4))
    assert row(text, "Linear (layer)") == ("(3, 4)", "20", f"{2 * 2 * 3 * 16}")
    assert "unused" not in text and text.splitlines()[-1].split() == ["total", "30", f"{2 * 2 * 3 * 16}"]


def test_hooks_go_also_when_the_model_fails():
    net = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5).eval())
    with pytest.raises(ValueError, match="linear: x has 4 features"):
        nn.summary(net, (2, 4))
    assert type(net[0]) is nn.Linear and type(net) is nn.Sequential
    assert net[0].training and not net[1].training

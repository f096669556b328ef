"""Logs: CSV that survives kills, new columns and restarts; event files, read back bit by bit."""
import builtins
import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

import tinygrad_edu as tg
from tinygrad_edu.io import SummaryWriter, read_curves, read_events
from tinygrad_edu.io.events import crc32c, fields, read_records
from tinygrad_edu.io.logs import Table


def lines(path):
    return path.read_text().splitlines()


# ---------------------------------------------------------------- CSV

def test_rows_are_there_as_soon_as_they_are_logged(tmp_path):
    writer, path = SummaryWriter(tmp_path / "run"), tmp_path / "run" / "scalars.csv"
    writer.log({"loss": 0.5, "accuracy": tg.tensor(0.25)}, 0)
    assert lines(path) == ["step,loss,accuracy", "0,0.5,0.25"]
    writer.add_scalar("loss", np.float64(0.1), 1)
    assert lines(path)[2:] == ["1,0.1,"]
    assert read_curves(path) == {"loss": ([0, 1], [0.5, 0.1]), "accuracy": ([0], [0.25])}


def test_a_new_column_widens_the_file(tmp_path):
    table = Table(tmp_path / "t.csv")
    table.append({"step": 0, "a": 1})
    table.append({"step": 1, "b,c": "x\"y"})
    table.append({"b,c": 2, "step": 2, "a": 3})
    assert lines(table.path) == ['step,a,"b,c"', "0,1,", '1,,"x""y"', "2,3,2"]
    assert [p.name for p in tmp_path.iterdir()] == ["t.csv"]


def test_a_run_that_goes_on_appends(tmp_path):
    SummaryWriter(tmp_path).log({"loss": 1.0}, 0)
    writer = SummaryWriter(tmp_path)
    writer.log({"loss": 0.5}, 1)
    writer.log({"loss": 0.25, "new": 7}, 2)
    assert lines(tmp_path / "scalars.csv") == ["step,loss,new", "0,1.0,", "1,0.5,", "2,0.25,7"]


@pytest.mark.parametrize("end", ["2,0.2", "2", "2,0.2,1.", ""])
def test_a_half_line_is_cut_off(tmp_path, end):
    path = tmp_path / "scalars.csv"
    path.write_text("step,loss\n0,0.5\n1,0.25\n" + end)
    SummaryWriter(tmp_path).log({"loss": 0.125}, 2)
    assert lines(path) == ["step,loss", "0,0.5", "1,0.25", "2,0.125"]


def test_a_half_header_is_no_header(tmp_path):
    path = tmp_path / "scalars.csv"
    for text in ("", "step,lo"):
        path.write_text(text)
        SummaryWriter(tmp_path).log({"loss": 0.5}, 0)
        assert lines(path) == ["step,loss", "0,0.5"]


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.floats(width=64), min_size=1), min_size=1, max_size=6))
def test_every_float_comes_back(tmp_path_factory, rows):
    writer = SummaryWriter(tmp_path_factory.mktemp("run"))
    for step, row in enumerate(rows):
        writer.log(row, step)
    curves = read_curves(writer.log_dir / "scalars.csv")
    assert curves.keys() == set().union(*rows)
    for name, (steps, values) in curves.items():
        assert steps == [i for i, row in enumerate(rows) if name in row]
        np.testing.assert_array_equal(values, [row[name] for row in rows if name in row])


def test_hyper_parameters_and_results_are_a_row(tmp_path):
    writer = SummaryWriter(tmp_path)
    writer.add_hparams({"lr": 0.1, "name": "mlp", "bias": True}, {"accuracy": 0.9})
    writer.add_hparams({"lr": 0.2, "name": "cnn"}, {"accuracy": 0.95})
    assert lines(tmp_path / "hparams.csv") == ["lr,name,bias,accuracy", "0.1,mlp,True,0.9", "0.2,cnn,,0.95"]
    with pytest.raises(ValueError, match="got .'lr'. both as a setting and as a result"):
        writer.add_hparams({"lr": 0.1}, {"lr": 1.0})


def test_errors(tmp_path):
    with pytest.raises(ValueError, match="t.csv: got a line break"):
        Table(tmp_path / "t.csv").append({"a": "x\ny"})
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="has no column 'step', only .'a', 'b'."):
        read_curves(tmp_path / "t.csv")


def test_without_tensorboard_the_csv_is_all(tmp_path):
    with SummaryWriter(tmp_path) as writer:
        writer.add_histogram("h", np.arange(3.0), 0)
        writer.add_image("i", np.zeros((1, 2, 2)), 0)
        writer.log({"loss": 1.0}, 0)
    assert [p.name for p in tmp_path.iterdir()] == ["scalars.csv"]


def test_a_missing_extra_is_one_line(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *arguments, **options):
        if name.startswith("tensorboardX"):
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"^tensorboard=True needs tensorboardX: pip install 'tinygrad-edu\[tensorboard\]'$"):
        SummaryWriter(tmp_path, tensorboard=True)


# ---------------------------------------------------------------- event files

@pytest.fixture
def run(tmp_path):
    """A folder with one of everything."""
    pytest.importorskip("tensorboardX")
    image = np.linspace(0, 1, 24, dtype="float32").reshape(2, 4, 3)
    with SummaryWriter(tmp_path, tensorboard=True) as writer:
        writer.log({"loss/train": tg.tensor(0.5), "loss/test": 0.75}, 3)
        writer.add_scalar("loss/train", 0.25, 300)
        writer.add_histogram("weights", tg.tensor([1.0, 2.0, 2.0, 5.0]), 4)
        writer.add_image("picture", image, 5, dataformats="HWC")
        writer.add_hparams({"lr": 0.1, "name": "mlp", "layers": 3, "bias": True}, {"accuracy": 0.875})
    return tmp_path


def test_scalars_come_back(run):
    scalars = [event for event in read_events(run) if event.kind == "scalar"]
    assert scalars == [(3, "loss/train", "scalar", 0.5), (3, "loss/test", "scalar", 0.75), (300, "loss/train", "scalar", 0.25)]
    assert lines(run / "scalars.csv") == ["step,loss/train,loss/test", "3,0.5,0.75", "300,0.25,"]


def test_histograms_come_back(run):
    (event,) = [event for event in read_events(run) if event.kind == "histogram"]
    h = event.value
    assert event[:2] == (4, "weights") and (h["min"], h["max"], h["count"], h["sum"], h["sum of squares"]) == (1, 5, 4, 10, 34)
    assert sum(h["counts"]) == 4 and len(h["counts"]) == len(h["edges"])
    for value, count in ((1.0, 1), (2.0, 2), (5.0, 1)):
        inside = [n for n, low, high in zip(h["counts"], (-math.inf, *h["edges"]), h["edges"]) if low <= value <= high]
        assert sum(inside) == count


def test_images_come_back(run):
    pillow = pytest.importorskip("PIL.Image")
    import io
    (event,) = [event for event in read_events(run) if event.kind == "image"]
    assert event[:2] == (5, "picture") and (event.value["height"], event.value["width"]) == (2, 4)
    pixels = np.asarray(pillow.open(io.BytesIO(event.value["png"])))
    np.testing.assert_allclose(pixels, np.linspace(0, 255, 24).reshape(2, 4, 3), atol=1)


def test_hyper_parameters_come_back(run):
    (result,) = [event for event in read_events(run / "hparams") if event.kind == "scalar"]
    assert result[1:] == ("accuracy", "scalar", 0.875)
    records = b"".join(record for file in (run / "hparams").iterdir() for record in read_records(file))
    assert all(name in records for name in (b"lr", b"name", b"mlp", b"layers", b"bias"))
    assert lines(run / "hparams.csv") == ["lr,name,layers,bias,accuracy", "0.1,mlp,3,True,0.875"]


def test_a_flipped_bit_or_a_cut_is_noticed(run):
    (path,) = run.glob("events.out.tfevents.*")
    whole, n = path.read_bytes(), len(read_records(path))
    for i in range(0, len(whole), 7):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 1 << i % 8]) + whole[i + 1 :])
        with pytest.raises(ValueError, match=f"{path.name}: the (length|record) at byte"):
            read_records(path)
    path.write_bytes(whole[:-1])
    with pytest.raises(ValueError, match="the record at byte"):
        read_records(path)
    path.write_bytes(whole)
    assert len(read_records(path)) == n


def test_crc32c_of_published_values():
    """RFC 3720, B.4, and the check value of the catalogue of CRCs."""
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA and crc32c(b"\xff" * 32) == 0x62A8AB43 and crc32c(bytes(range(32))) == 0x46DD794E


def test_fields_of_every_kind():
    double, single = np.float64(0.5).tobytes(), np.float32(0.25).tobytes()
    message = b"\x08\x96\x01" + b"\x11" + double + b"\x1d" + single + b"\x22\x03abc" + b"\x08\x01"
    assert fields(message) == {1: [150, 1], 2: [0.5], 3: [0.25], 4: [b"abc"]}

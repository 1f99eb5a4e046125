"""`dfk predict --engine=ray` on a real cluster: the same rows, whatever dies on the way."""

import contextlib
import csv
import os
import re
import signal
import subprocess
import sys
import termios
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from dfk import cli, inference
from tests import corpus, declared
from tests.networks import save_tiny
from tests.pictures import encode, noise

ray = pytest.importorskip("ray")
import psutil  # noqa: E402 -- it comes with Ray
import pyarrow as pa  # noqa: E402
import pyarrow.dataset  # noqa: E402
import pyarrow.parquet  # noqa: E402

from dfk.errors import UsageError  # noqa: E402
from dfk.inference import on_ray  # noqa: E402
from dfk.inference.on_ray import output_folder  # noqa: E402

CLASSES = ("gan", "real life", "vae, large")


@pytest.fixture(scope="module")
def cluster():
    """A cluster of this test alone, on loopback."""
    own = {"include_dashboard": False, "log_to_driver": False, "logging_level": "error"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        # The workers must find the tests' dfk, not another one that may be installed.
        patch.setenv("PYTHONPATH", os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")]))
        ray.init(num_cpus=2, _node_ip_address="127.0.0.1", **own)
        try:
            yield
        finally:
            ray.shutdown()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    sizes, formats = [[40, 40], [40, 40]], [{"PNG": 9}] * len(CLASSES)
    record = {"sizes": sizes, "crop": 0, "formats": formats, "demo": False}
    path = tmp_path_factory.mktemp("model") / "model.keras"
    return save_tiny(path, CLASSES, seed=1, trained_on=record)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files of all kinds, and which of them have no answer."""
    folder = tmp_path_factory.mktemp("corpus")
    _, refused = corpus.write(folder)
    made = declared.exif(Make="Canon", Software="=1")
    (folder / "claims.jpg").write_bytes(corpus.encode(corpus.picture(), "JPEG", exif=made))
    return folder, refused


def _predict(model, inputs, output, *more):
    return cli.main(
        ["predict", model, str(inputs), "--engine=ray", f"--output_dir={output}", *more]
    )


def _local(model, inputs, output, *more):
    assert cli.main(["predict", model, str(inputs), f"--output={output}", *more]) in (0, 1)
    with open(output, newline="", encoding="utf-8") as file:
        return _by_path(csv.DictReader(file))


def _csv_rows(output):
    rows = []
    for path in output.glob("part-*/*.csv"):
        with open(path, newline="", encoding="utf-8") as file:
            rows += csv.DictReader(file)
    return _by_path(rows)


def _parquet_rows(output):
    return _by_path(pa.dataset.dataset(output, format="parquet").to_table().to_pylist())


def _by_path(rows):
    rows = list(rows)
    assert set(Counter(row["path"] for row in rows).values()) == {1}
    return {row.pop("path"): row for row in rows}


def _assert_same_answers(rows, expected):
    """Within what another batch may change in the last digits."""
    assert rows.keys() == expected.keys()
    for path, row in rows.items():
        other = expected[path]
        assert list(row) == list(other)
        for name in ("label", "error", "doubt", "claims"):
            assert row.get(name) == other.get(name)
        for name in ("confidence", *CLASSES, *(["recheck"] if "recheck" in row else [])):
            assert float(row[name] or 0) == pytest.approx(float(other[name] or 0), abs=1e-5)
            assert (row[name] in (None, "")) == (other[name] == "")


def test_rows_are_those_of_the_local_command(cluster, model, folder, tmp_path, capsys):
    inputs, refused = folder
    asked = ("--format=csv", "--claims", "--recheck")
    assert _predict(model, inputs, tmp_path / "out", *asked) == 1
    local = _local(model, inputs, tmp_path / "x.csv", *asked[1:])
    rows = _csv_rows(tmp_path / "out")
    _assert_same_answers(rows, local)
    assert all(row["recheck"] or row["error"] for row in rows.values())
    claims = {row["claims"] for row in rows.values()}
    assert claims == {"", 'EXIF Make "Canon"; EXIF Software "=1"'}
    out, err = capsys.readouterr()
    assert out.startswith(f"{len(_csv_rows(tmp_path / 'out'))} rows in ")
    assert f"{len(refused)} of " in err and "Traceback" not in err
    by_ray, by_one = (line for line in err.splitlines() if " answers are in doubt: " in line)
    assert by_ray == by_one and "JPEG: trained on PNG" in by_ray
    assert sum(line.startswith(f"dfk: {inputs}") for line in err.splitlines()) == 10


def test_parquet_in_and_out(cluster, model, folder, tmp_path):
    inputs, _ = folder
    expected = _local(model, inputs, tmp_path / "x.csv")
    paths = [path for path in expected if os.path.isfile(path)]
    contents = [Path(path).read_bytes() for path in paths]
    for i in range(2):
        table = {"path": paths[i::2], "bytes": contents[i::2]}
        pa.parquet.write_table(pa.table(table), tmp_path / f"{i}.parquet")
    files = [str(tmp_path / f"{i}.parquet") for i in range(2)]
    assert cli.main(["predict", model, *files, "--engine=ray", f"--output={tmp_path}/out"]) == 1
    rows = _parquet_rows(tmp_path / "out")
    _assert_same_answers(rows, {path: expected[path] for path in paths})


@pytest.mark.slow
def test_a_killed_actor_loses_nothing_and_doubles_nothing(cluster, model, tmp_path):
    inputs = tmp_path / "in"
    inputs.mkdir()
    for i in range(3_000):
        (inputs / f"{i}.png").write_bytes(corpus.encode(corpus.picture(i), "PNG"))
    killed = []

    def kill():
        """Ends the first actor that has loaded its model."""
        for _ in range(2_400):
            time.sleep(0.05)
            for process in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.Error):  # Gone since, or not begun
                    title, spent = " ".join(process.cmdline()), sum(process.cpu_times()[:2])
                    if "MapWorker" in title and "__init__" not in title and spent > 1:
                        process.send_signal(signal.SIGKILL)
                        killed.append(process.pid)
                        return

    thread = threading.Thread(target=kill)
    thread.start()
    assert _predict(model, inputs, tmp_path / "out", "--batch_size=8", "--actors=2") == 0
    thread.join()
    assert killed
    rows = _parquet_rows(tmp_path / "out")
    assert len(rows) == 3_000 and not any(row["error"] for row in rows.values())


@pytest.mark.slow
def test_a_call_goes_on_where_one_was_killed(cluster, model, folder, tmp_path):
    inputs, _ = folder
    output = tmp_path / "out"
    done = on_ray.score(model, [str(inputs)], output, part_rows=50)
    first, second = sorted(output.glob("part-*"))
    before = sorted(os.listdir(first))
    # As a kill leaves it: a part is missing, and half of it lies aside.
    second.rename(output / f".{second.name}")
    assert on_ray.score(model, [str(inputs)], output, part_rows=50) == done
    assert sorted(os.listdir(first)) == before and not list(output.glob(".part-*"))
    _assert_same_answers(_parquet_rows(output), _local(model, inputs, tmp_path / "x.csv"))


@pytest.mark.slow
def test_options_hold_for_every_row(cluster, model, folder, tmp_path):
    inputs, _ = folder
    assert _predict(model, inputs, tmp_path / "out", "--min_confidence=1", "--actors=2") == 1
    assert {row["label"] for row in _parquet_rows(tmp_path / "out").values()} == {"", "unknown"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--engine=ray takes --output_dir=DIR"),
        (["--output=OUT", "--format=json"], "--format=parquet or csv"),
        (["--output=USED"], "holds something else"),
        (["--output=OUT", "--coverage=0.9"], "carries no threshold"),
        (["--output=OUT", "--batch_size=8", "--actors=0"], "0 is not a whole number from 1"),
    ],
)
def test_a_mistake_is_one_message(arguments, message, cluster, model, tmp_path, capsys):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "thesis").touch()
    places = {"OUT": str(tmp_path / "out"), "USED": str(tmp_path / "used")}
    for name, place in places.items():
        arguments = [argument.replace(name, place) for argument in arguments]
    assert cli.main(["predict", model, "a.png", "--engine=ray", *arguments]) == 2
    err = capsys.readouterr().err
    assert err.startswith("dfk: ") and message in err and err.count("\n") == 1


def test_files_of_both_kinds_are_refused(cluster, model, tmp_path, capsys):
    inputs = ["a.png", f"{tmp_path}/b.parquet"]
    assert cli.main(["predict", model, *inputs, "--engine=ray", f"--output={tmp_path}/out"]) == 2
    assert "Parquet files and other images in one call" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (".images", None, "holds something else"),
        (".dfk.json", "{", "is damaged"),
        (".dfk.json", "[]", "is damaged"),
        (".dfk.json", "{}", "was begun with another model"),
    ],
)
def test_a_folder_of_others_keeps_what_it_has(name, content, message, tmp_path):
    (tmp_path / name).mkdir() if content is None else (tmp_path / name).write_text(content)
    with pytest.raises(UsageError, match=message), output_folder.begun(tmp_path, {"model": "x"}):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert content is None or (tmp_path / name).read_text() == content


def test_a_first_call_without_images_leaves_nothing(model, tmp_path):
    (tmp_path / "empty").mkdir()
    found = on_ray.score(model, [str(tmp_path / "empty")], tmp_path / "out")
    assert found.count.images == 0 and not (tmp_path / "out").exists()
    with pytest.raises(UsageError, match="is a file"):
        on_ray.score(model, ["a.png"], Path(model))


def test_classes_called_like_columns_get_others(tmp_path):
    names = ("label", "error", "path", "set")
    path = save_tiny(tmp_path / "old.keras", names, seed=1)
    scorer = on_ray.Scorer(
        model=str(path), form="csv", coverage=None, threads=1, min_confidence=0, unknown=False
    )
    image = corpus.encode(corpus.picture(), "PNG")
    columns = scorer({"path": np.array(["p", "q"]), "bytes": np.array([image, b""], object)})
    expected = ["path", "label", "confidence", *(f"{n} (class)" for n in names)]
    expected += ["error", "doubt"]
    assert list(columns) == expected
    found, _ = inference.loaded(str(path)).predict([image, image])
    assert [columns[name][0] for name in expected][3:7] == [str(x) for x in found.probabilities]
    assert columns["label"].tolist() == [found.label, ""] and columns["error"][1]


def test_ray_only_options_need_ray(model, capsys):
    for option in ("--format=parquet", "--actors=2"):
        assert cli.main(["predict", model, "a.png", option]) == 2
        assert "go with --engine=ray" in capsys.readouterr().err


def test_another_call_into_the_same_folder_is_refused(cluster, model, folder, tmp_path, capsys):
    output_folder.check_settings(tmp_path, {"form": "csv", "batch_size": 32})
    assert _predict(model, folder[0], tmp_path, "--batch_size=8") == 2
    assert "was begun with another model, form, batch_size" in capsys.readouterr().err


@pytest.mark.parametrize("columns", [{"path": ["a"]}, None])
def test_what_is_no_table_of_images_is_named(columns, cluster, model, tmp_path, capsys):
    file = tmp_path / "a.parquet"
    pa.parquet.write_table(pa.table(columns), file) if columns else file.write_text("no")
    assert _predict(model, file, tmp_path / "out") == 2
    reason = "needs the columns path and bytes; it has path" if columns else "cannot be read as"
    assert f"{file} {reason}" in capsys.readouterr().err


def test_a_cluster_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(UsageError, match="nobody answers there"), on_ray.connected():
        pass


def test_without_ray_the_extra_is_named(model, tmp_path):
    program = "import sys; sys.modules['ray'] = None; from dfk import cli; sys.exit(cli.main())"
    arguments = ["predict", model, "a.png", "--engine=ray", f"--output={tmp_path}/out"]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (
        2,
        "dfk: --engine=ray needs Ray: pip install 'dfk-keras[ray]'\n",
    )


@pytest.mark.slow
def test_a_terminal_shows_one_bar_and_nothing_of_rays_log(tmp_path):
    """A name of a model of dfk's is as good as a path here, too."""
    (tmp_path / "images").mkdir()
    for i in range(40):
        (tmp_path / "images" / f"{i}.png").write_bytes(encode(noise(40, 40, i), "PNG"))
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (30, 100))
    options = ["--engine=ray", f"--output_dir={tmp_path}/out"]
    command = [
        sys.executable,
        "-m",
        "dfk",
        "predict",
        "unibuc-small",
        f"{tmp_path}/images",
        *options,
    ]
    with subprocess.Popen(command, stdout=theirs, stderr=theirs):
        os.close(theirs)
        sent = b""
        with contextlib.suppress(OSError):  # As Linux says that nobody is left
            while some := os.read(ours, 2**16):
                sent += some
    os.close(ours)
    lines = re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", sent.decode()))
    bars = [line for line in lines if line.startswith("predict: ")]
    assert re.search(r" 40/40 \[.*images/s\]", bars[-1]), bars
    rows, *doubts = (line for line in lines if line.strip() and line not in bars)
    assert rows == f"40 rows in {tmp_path}/out"
    assert all(re.match(r"dfk: \d+ of 40 answers are in doubt: ", line) for line in doubts), doubts

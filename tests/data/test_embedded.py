"""The embedded data set: its files, its simulated traces, and who writes it first."""

import csv
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from dfk.data import embedded

SMALL = {"train": 20, "validation": 10, "test": 5}


def rows(path: Path) -> list[list[str]]:
    with open(path, newline="") as file:
        return list(csv.reader(file))


def pixels(folder: Path) -> dict[str, np.ndarray]:
    return {path.stem: np.asarray(Image.open(path)) for path in folder.glob("*/*.png")}


@pytest.fixture
def scenes() -> list[np.ndarray]:
    return [embedded.scene(np.random.default_rng(seed)) for seed in range(10)]


def test_the_folder_has_the_competitions_layout(tmp_path):
    folder = embedded.write_demo(tmp_path, **SMALL)
    assert folder.parent == tmp_path and f"demo-v{embedded.VERSION}" in folder.name
    for split, count in SMALL.items():
        header, *body = rows(folder / f"{split}.csv")
        assert header == (["image_id"] if split == "test" else ["image_id", "label"])
        assert [row[0] for row in body] == [f"demo-{split}-{i:05d}" for i in range(count)]
        assert {row[0] for row in body} == {path.stem for path in (folder / split).iterdir()}
    assert {(i.shape, i.dtype.name) for i in pixels(folder).values()} == {((64, 64, 3), "uint8")}


def test_classes_are_balanced_and_ids_do_not_tell_them(tmp_path):
    folder = embedded.write_demo(tmp_path, **SMALL)
    labels = [row[1] for row in rows(folder / "train.csv")[1:]]
    assert Counter(labels) == dict.fromkeys("01234", SMALL["train"] // 5)
    by_position = [
        Counter(embedded.label_of("train", 5 * i + j) for i in range(200)) for j in range(5)
    ]
    assert all(20 < counts[c] < 65 for counts in by_position for c in range(5))


def test_a_second_generation_is_the_same_whatever_its_size(tmp_path):
    larger = embedded.write_demo(tmp_path / "a", train=30, validation=10, test=5)
    smaller = embedded.write_demo(tmp_path / "b", **SMALL)
    assert rows(larger / "train.csv")[: 1 + SMALL["train"]] == rows(smaller / "train.csv")
    images = pixels(larger)
    assert all(np.array_equal(images[name], image) for name, image in pixels(smaller).items())


def test_no_two_images_share_a_scene(tmp_path):
    images = pixels(embedded.write_demo(tmp_path, **SMALL))
    assert len({image.tobytes() for image in images.values()}) == len(images) == 35


def test_a_changed_image_needs_a_new_version():
    images = [embedded.simulate("train", label, label).astype(int) for label in range(5)]
    contrasts = [np.abs(np.diff(image, axis=1)).mean() for image in images]
    # The tolerance is for rounding on another machine.
    assert contrasts == pytest.approx([16.847, 10.604, 10.996, 7.243, 11.561], abs=0.005)
    assert embedded.VERSION == 1


def nyquist(image: np.ndarray) -> float:
    """Power where every pixel differs from its neighbour, across, down or both."""
    spectrum = np.abs(np.fft.fft2(image.mean(axis=-1))) ** 2
    return spectrum[32, 0] + spectrum[0, 32] + spectrum[32, 32]


def test_transposed_convolution_leaves_a_checkerboard(scenes):
    others = (embedded.nearest, embedded.bilinear_ringing, embedded.codebook)
    for image in scenes:
        highest = max(nyquist(decode(image)) for decode in others)
        assert nyquist(embedded.transposed_convolution(image)) > 100 * highest


def replica_error(image: np.ndarray) -> float:
    """How far the upper half of the spectrum is from a copy of the lower, attenuated one."""
    spectrum = np.fft.fft2(image, axes=(0, 1))
    hold = 1 + np.exp(-2j * np.pi * np.arange(64) / 64)  # The response of repeating a pixel.
    low, high = spectrum[1:32], spectrum[33:]
    copy = low * (hold[33:] / hold[1:32])[:, None, None]
    return float(np.linalg.norm(high - copy) / np.linalg.norm(high))


def test_nearest_neighbour_repeats_the_spectrum(scenes):
    for image in scenes:
        assert replica_error(embedded.nearest(image)) < 1e-9
        for decode in (
            embedded.transposed_convolution,
            embedded.bilinear_ringing,
            embedded.codebook,
        ):
            assert replica_error(decode(image)) > 0.1


def test_ringing_overshoots_at_an_edge_only():
    edge = np.full((64, 64, 3), 0.2)
    edge[:, 32:] = 0.8
    decoded = embedded.bilinear_ringing(edge)
    assert decoded.max() > 0.85 and decoded.min() < 0.15
    np.testing.assert_allclose(decoded[:, [0, 8, 16, 48, 56, 63]], edge[:, [0, 8, 16, 48, 56, 63]])
    assert embedded.nearest(edge).max() <= 0.8


def distinct_blocks(images: list[np.ndarray]) -> int:
    blocks = np.stack(images).reshape(-1, 8, 8, 8, 8, 3).swapaxes(2, 3)
    blocks = (blocks - blocks.mean(axis=(3, 4), keepdims=True)).reshape(-1, 192)
    return len(np.unique(blocks.round(6) + 0.0, axis=0))


def test_codebook_blocks_share_few_codewords(scenes):
    assert 4 < distinct_blocks([embedded.codebook(image) for image in scenes]) <= 32
    assert distinct_blocks(scenes) == 64 * len(scenes)


def test_the_mixtures_trace_is_fainter_than_the_pure_one():
    power = [
        np.mean([nyquist(embedded.simulate("train", i, label)) for i in range(30)])
        for label in (0, 4, 1)
    ]
    assert power[0] > 1.5 * power[1] > 3 * power[2]


def test_the_class_changes_the_trace_but_not_the_scene():
    for index in range(10):
        coarse = [
            embedded.simulate("train", index, label).reshape(8, 8, 8, 8, 3).mean(axis=(1, 3))
            for label in range(5)
        ]
        assert np.std(coarse, axis=0).mean() < 2  # Of 255.
        assert np.std(coarse, axis=(1, 2)).mean() > 10  # Against what a scene itself varies by.


def test_brightness_and_colour_do_not_tell_the_class():
    means = np.array(
        [
            [
                embedded.simulate("validation", 5 * i + label, label).mean(axis=(0, 1))
                for i in range(60)
            ]
            for label in range(5)
        ]
    )
    noise = means.std(axis=(0, 1)) / np.sqrt(60)
    assert (np.abs(means.mean(axis=1) - means.mean(axis=(0, 1))) < 4 * noise).all()


def test_local_traces_tell_more_than_raw_pixels():
    count, held_out = 500, 100
    labels = np.array([embedded.label_of("train", index) for index in range(count)])
    images = np.stack([embedded.simulate("train", i, label) for i, label in enumerate(labels)])

    raw = images.reshape(count, -1)[:, ::4]  # Every fourth value, to be quick.
    raw = StandardScaler().fit_transform(raw.astype(np.float32))
    spectrum = np.log(np.abs(np.fft.fft2(images.mean(axis=-1))) ** 2 + 1)
    pooled = spectrum.reshape(count, 16, 4, 16, 4).mean(axis=(2, 4)).reshape(count, -1)
    corners = spectrum[:, [32, 0, 32], [0, 32, 32]]

    def accuracy(model, features):
        model.fit(features[held_out:], labels[held_out:])
        return model.score(features[:held_out], labels[:held_out])

    assert accuracy(SVC(gamma=1 / raw.shape[1]), raw) < 0.5
    lda = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    assert accuracy(lda, np.hstack([pooled, corners])) > 0.7


def test_it_is_written_once_and_logged_once(tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr(embedded.logging, "info", lambda *args: lines.append(args))
    folder = embedded.write_demo(tmp_path, **SMALL)
    written = folder.stat().st_mtime_ns, (folder / "train.csv").stat().st_ino
    assert embedded.write_demo(tmp_path, **SMALL) == folder
    assert written == (folder.stat().st_mtime_ns, (folder / "train.csv").stat().st_ino)
    assert len(lines) == 1 and folder in lines[0]


def test_it_lies_in_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert embedded.write_demo(train=5, validation=5, test=5).parent == tmp_path / "dfk"


def test_an_unwritable_cache_says_what_to_do(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="XDG_CACHE_HOME"):
        embedded.write_demo(tmp_path / "file" / "cache", **SMALL)


def start(code: str, cache: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", f"import sys; from dfk.data import embedded; {code}", str(cache)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_two_processes_at_once_end_with_one_folder(tmp_path):
    code = f"print(flush=True); input(); print(embedded.write_demo(sys.argv[1], **{SMALL}))"
    processes = [start(code, tmp_path) for _ in range(2)]
    for process in processes:
        process.stdout.readline()  # It has imported everything and waits.
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    folders = {process.communicate(timeout=300)[0].strip() for process in processes}
    assert [process.returncode for process in processes] == [0, 0]
    assert folders == {str(path) for path in tmp_path.iterdir()}
    assert len(pixels(Path(folders.pop()))) == 35


def test_the_slower_process_takes_the_faster_ones_folder(tmp_path, monkeypatch):
    publish = embedded._publish

    def overtaken(draft, folder):
        monkeypatch.setattr(embedded, "_publish", publish)
        embedded.write_demo(tmp_path, **SMALL)
        (folder / "theirs").touch()
        publish(draft, folder)

    monkeypatch.setattr(embedded, "_publish", overtaken)
    folder = embedded.write_demo(tmp_path, **SMALL)
    assert (folder / "theirs").exists() and list(tmp_path.iterdir()) == [folder]


def test_an_error_midway_leaves_nothing(tmp_path, monkeypatch):
    write_split = embedded._write_split

    def full_disk(folder, split, count):
        if split == "validation":
            raise OSError(28, "No space left on device")
        write_split(folder, split, count)

    monkeypatch.setattr(embedded, "_write_split", full_disk)
    with pytest.raises(OSError, match="No space left on device"):
        embedded.write_demo(tmp_path, **SMALL)
    assert not list(tmp_path.iterdir())


def test_a_killed_process_leaves_nothing_at_the_final_name(tmp_path):
    code = (
        "import os; embedded._publish = lambda *_: os.kill(os.getpid(), 9); "
        f"embedded.write_demo(sys.argv[1], **{SMALL})"
    )
    process = start(code, tmp_path)
    process.communicate(timeout=300)
    assert process.returncode == -9 and not list(tmp_path.glob("demo*"))
    assert len(pixels(embedded.write_demo(tmp_path, **SMALL))) == 35

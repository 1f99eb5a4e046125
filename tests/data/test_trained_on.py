"""What models carry of their training images: read off the files, joined, told by content."""

import pytest
from PIL import Image

from dfk.data import catalog, images, splits, trained_on
from tests.corpus import encode, picture
from tests.datasets import write_folders


@pytest.mark.parametrize("name", trained_on.FORMATS)
def test_the_format_is_told_by_the_content(name):
    file = encode(picture(), name)
    assert trained_on.format_of(file) == name and trained_on.format_of(file[1:]) == ""


def test_a_record_counts_what_is_learned_from_and_what_it_is_tuned_on(tmp_path):
    folder = write_folders(tmp_path / "in", classes="ab", counts={"train": 20, "validation": 4})
    for path in (folder / "train" / "b").iterdir():
        with Image.open(path) as image:
            jpeg = image.resize((24, 20))
        jpeg.save(path, "JPEG")  # Under the suffix of a PNG
    picture().resize((90, 4)).save(folder / "validation" / "a" / "z.png")
    data = splits.set_aside(images.load(catalog.read(folder)))
    record = trained_on.record(data, crop=8, demo=True)
    assert record == {
        "sizes": [[16, 16], [20, 24]],
        "crop": 8,
        "formats": [{"PNG": 10}, {"JPEG": 10}],
        "demo": True,
    }


def test_what_one_of_several_was_trained_on_all_of_them_were():
    small = {
        "sizes": [[9, 16], [16, 16]],
        "crop": 0,
        "formats": [{"PNG": 5}, {"PNG": 6}],
        "demo": False,
    }
    large = {
        "sizes": [[16, 8], [99, 50]],
        "crop": 12,
        "formats": [{"PNG": 9}, {"JPEG": 7}],
        "demo": True,
    }
    assert trained_on.joined([small, large]) == {
        "sizes": [[9, 8], [99, 50]],
        "crop": 12,
        "formats": [{"PNG": 9}, {"PNG": 6, "JPEG": 7}],
        "demo": True,
    }
    assert trained_on.joined([small]) == small
    assert trained_on.joined([small, None]) is None and trained_on.joined([]) is None

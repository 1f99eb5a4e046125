"""The documents' commands and snippets, and a folder that looks like a checkout to run them in."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.datasets import write_folders, write_kaggle

ROOT = Path(__file__).parents[1]
_BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```$", re.DOTALL | re.MULTILINE)

# Which documents' commands run one after the other: each finds the runs of those before it.
AFTER_QUICKSTART = (
    "README.md",
    *(f"dfk/{room}/README.md" for room in ("inference", "evaluation", "models", "training")),
    "dfk/export/README.md",
)
OF_RECIPES = ("configs/README.md", "dfk/data/README.md")


def documents() -> list[str]:
    """All of the project's texts for people, by their paths in it."""
    found = [p for folder in ("configs", "dfk", ".github") for p in (ROOT / folder).rglob("*.md")]
    return sorted(str(p.relative_to(ROOT)) for p in [*ROOT.glob("*.md"), *found])


def blocks(document: str) -> list[tuple[str, str]]:
    """The languages and texts of what is to be run, in their order."""
    return _BLOCK.findall((ROOT / document).read_text())


def write_checkout(tmp_path: Path) -> Path:
    """A folder that looks like the checkout, with small images instead of the real ones."""
    for name in ("run_experiments.py", "configs", "dfk", ".github"):
        (tmp_path / name).symlink_to(ROOT / name)
    write_kaggle(
        tmp_path / "data" / "unibuc",
        counts={"train": 60, "validation": 20, "test": 10},
        classes="01234",
        size=100,
    )
    (tmp_path / "photos").mkdir()
    for i, path in enumerate(sorted((tmp_path / "data/unibuc/test").iterdir())[:3]):
        shutil.copy(path, tmp_path / "photos" / f"{i}.png")
    classes = ("camera", "gan", "diffusion")
    made = write_folders(tmp_path / "made", counts={"train": 60}, classes=classes, size=256)
    for name in classes:
        (made / "train" / name).rename(tmp_path / name)
    shutil.copytree(tmp_path / "data/unibuc/test", tmp_path / "stylegan")
    return tmp_path


def run_all(document: str, checkout: Path) -> None:
    """Runs the blocks of a document, as printed and in their order."""
    for language, block in blocks(document):
        for command in _commands(language, block):
            done = subprocess.run(
                command, cwd=checkout, env=environment(), capture_output=True, text=True
            )
            assert done.returncode == 0, f"{document}: {block}\n{done.stderr}"
            assert not re.search("Traceback|Logging before|retracing", done.stderr), done.stderr


def runs_in(folder: Path) -> set[str]:
    """The names of the folders in a folder of runs."""
    return {path.name for path in folder.iterdir() if path.is_dir()}


def _commands(language, text):
    """What a block runs; the installation and pytest itself are what runs this test."""
    if language == "python":
        return [[sys.executable, "-c", text]]
    lines = [line.removeprefix("pip install -e . && ") for line in text.strip().splitlines()]
    return [["bash", "-c", line] for line in lines if not line.startswith("pip install")]


def environment() -> dict[str, str]:
    """`python` and `dfk` are those of this test's environment."""
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}

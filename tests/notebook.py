"""The notebook `.github/example.ipynb`, written by `python -m tests.notebook`; a test runs it."""

import json
from pathlib import Path

PATH = Path(__file__).parents[1] / ".github" / "example.ipynb"

TEXT, CODE = "markdown", "code"
CELLS = (
    (
        TEXT,
        """# dfk in ten minutes

Which generator made an image? This notebook asks a model that comes with dfk, trains a small one
on the embedded data set, and looks at where it looks. The embedded set is a *simulation*: figures
on it say nothing about real generators.

`pip install dfk-keras`, or `pip install -e .` in a checkout.""",
    ),
    (
        CODE,
        """import csv

import dfk
from dfk.data.embedded import data_folder

demo = data_folder("demo")  # Made once, in ~/.cache/dfk
rows = list(csv.DictReader((demo / "validation.csv").open()))
images = [demo / "validation" / f"{row['image_id']}.png" for row in rows]
len(images), rows[0]""",
    ),
    (
        TEXT,
        """## A model that comes with dfk

`unibuc` knows five generators of a competition, and names one of them for every image. What is
unlike all that it was trained on it doubts; `doubt` says why. These images are none of its
generators', and of another size.""",
    ),
    (
        CODE,
        """unibuc = dfk.load("unibuc")
for found in unibuc.predict(images[:3]):
    print(found.label, round(found.confidence, 3), found.doubt)""",
    ),
    (
        TEXT,
        """## A model of your own

One flag for each thing that is to be other than the default; `dfk train --help` lists them. The
run leaves a report, its figures and the model in `runs/small`.""",
    ),
    (
        CODE,
        """from dfk import config, training

flags = "--data_dir=demo --experiment=small --image_size=0 --train_crop=32 --augment=flip"
more = "--epochs=2 --limit=400 --overwrite"
(settings,) = config.parse([*flags.split(), *more.split()])
result = training.run(settings)
print(f"{result['accuracy']:.1%} of {result['n']} images right; {settings.run_dir}/report.html")""",
    ),
    (CODE, """import keras

model = keras.models.load_model(settings.run_dir / "model.keras")
model.summary()"""),
    (
        TEXT,
        """## Where it looked

Grad-CAM: what spoke for the label. It does not prove that the label is right.""",
    ),
    (
        CODE,
        """from dfk.inference.explain import Explainer

explanation = Explainer(dfk.load(settings.run_dir)).explain(images[0])
print(explanation.label, f"{explanation.confidence:.1%}", "- it is", rows[0]["label"])
explanation.picture()""",
    ),
)  # fmt: skip


def notebook() -> str:
    """The notebook as a file holds it (nbformat 4.5), without outputs."""
    cells = []
    for number, (kind, text) in enumerate(CELLS):
        cell = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}}
        cell["source"] = text.splitlines(keepends=True)
        cells.append(cell | ({"execution_count": None, "outputs": []} if kind == CODE else {}))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    whole = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PATH.write_text(notebook(), encoding="utf-8")

"""Every command about recipes and images of one's own runs as it is printed, in its order."""

import pytest

from tests.documents import OF_RECIPES, run_all, runs_in, write_checkout


@pytest.mark.slow
def test_their_commands_run_as_printed(tmp_path):
    checkout = write_checkout(tmp_path)
    for document in OF_RECIPES:
        run_all(document, checkout)
    study = {"svm", "deepfakenet", "deepfakenet2", "vgg16", "ensemble"}
    suite = {"baseline", "fisher", "network", "ensemble"}
    assert runs_in(checkout / "runs") == {"unibuc", "open_set", "mine", "alike"}
    assert runs_in(checkout / "runs/unibuc") == {*study, "svm_forensic"}
    assert "Unknown generators" in (checkout / "runs/open_set/results.md").read_text()
    assert runs_in(checkout / "runs/mine") == {*suite, "tuned", "tuned+stylegan"}
    assert runs_in(checkout / "runs/alike") == suite
    for left in ("repeated/unibuc/metrics.json", "audit/audit.html", "data/alike/train.csv"):
        assert (checkout / left).exists()

"""README's part on images of one's own, which needs nothing of what stands before it."""

import pytest

from tests.readme import HEADING, OWN, run_all, runs_in, write_checkout


@pytest.mark.slow
def test_its_commands_run_as_printed(tmp_path):
    checkout = write_checkout(tmp_path)
    assert HEADING
    run_all(OWN, checkout)
    suite = {"baseline", "fisher", "network", "ensemble"}
    assert runs_in(checkout / "runs/mine") == {*suite, "tuned", "tuned+stylegan"}
    assert runs_in(checkout / "runs/alike") == suite

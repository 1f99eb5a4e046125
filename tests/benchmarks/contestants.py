"""What the tests let run in processes of their own."""

import os
import time


def sleeper(*, seconds):
    """Takes a known time; answers its process."""

    def run():
        time.sleep(seconds)
        return os.getpid()

    return run


def broken(*, when):
    """Fails as it is made, as it runs, as it runs again, or by the end of its process."""
    runs = []

    def run():
        runs.append(run)
        if when == "again" and len(runs) == 1:
            return
        if when == "run":
            raise ValueError("out of order\nand more")
        os._exit(3)

    if when == "make":
        raise ValueError("cannot be made")
    return run

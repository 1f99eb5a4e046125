"""Trains, evaluates and reports experiments: flags in, a table and a report out.

Examples:
    python run_experiments.py --flagfile=configs/quickstart.flags
    python run_experiments.py --flagfile=configs/deepfakenet.flags --data_dir=data/unibuc
    python run_experiments.py --flagfile=configs/study.flags --data_dir=data/unibuc --resume
"""

import sys

from dfk import cli


def main(arguments: list[str]) -> int:
    """What `dfk train` does, with the help of this file; returns the exit code."""
    from dfk.commands import train  # Here, where a Ctrl-C is minded

    return train.main(arguments, doc=__doc__)


if __name__ == "__main__":
    sys.exit(cli.call(main, sys.argv[1:], program="python run_experiments.py", last=True))

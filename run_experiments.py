"""Trains, evaluates and reports experiments: flags in, a table and a report out.

Examples:
    python run_experiments.py --flagfile=configs/quickstart.flags
    python run_experiments.py --flagfile=configs/deepfakenet.flags --data_dir=data/unibuc
    python run_experiments.py --flagfile=configs/study.flags --data_dir=data/unibuc --resume
"""

import functools
import sys

from dfk import cli
from dfk.commands import train

if __name__ == "__main__":
    command = functools.partial(train.main, doc=__doc__)
    sys.exit(cli.call(command, sys.argv[1:], program="python run_experiments.py"))

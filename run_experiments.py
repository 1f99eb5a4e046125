"""Trains, evaluates and reports an experiment: flags in, a table and a report out.

Examples:
    python run_experiments.py --flagfile=configs/quickstart.flags
    python run_experiments.py --flagfile=configs/deepfakenet.flags --data_dir=data/unibuc
    python run_experiments.py --flagfile=configs/deepfakenet.flags --data_dir=data/unibuc --resume
"""

import sys

from dfk import cli

if __name__ == "__main__":
    sys.exit(cli.train(sys.argv[1:], program="python run_experiments.py", doc=__doc__))

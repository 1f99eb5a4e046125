"""What all commands' arguments share: names that are checked first, spellings, help, exit codes."""

import re
import subprocess
import sys

import pytest

from dfk import cli
from dfk.commands import predict
from dfk.commands.parser import Parser

GONE = [
    ["info", "gone"],
    ["predict", "gone", "x.png"],
    ["evaluate", "gone", "--data_dir=demo"],
    ["evaluate", "unibuc", "--data_dir=gone"],
    ["explain", "gone", "x.png"],
    ["export", "gone"],
    ["demo", "gone"],
    ["add", "gone", "new", "."],
    ["add", "unibuc", "new", "gone"],
    ["audit", "gone"],
    ["prepare", "gone", "out", "--format=png"],
    ["compare", "gone", "gone"],
    ["train", "--data_dir=gone"],
    ["train", "--recipe=study", "--data-dir=gone"],
    ["train", "--weights=unibuc-small", "--data_dir=gone"],
]


def test_what_is_not_there_is_wrong_usage_and_seen_before_tensorflow_is_imported():
    code = (
        "import sys; from dfk import cli\n"
        f"assert [cli.main(x) for x in {GONE}] == [2] * {len(GONE)}\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    messages = done.stderr.splitlines()
    assert len(messages) == len(GONE)
    assert all(message.startswith("dfk: ") and "gone" in message for message in messages)


def _parser():
    parser = Parser("predict", "What it does.")
    parser.add_argument("images", nargs="*")
    parser.add_argument("--output_dir", metavar="DIR")
    return parser


@pytest.mark.parametrize("spelled", [["--output-dir=a-b"], ["--output_dir", "a-b"]])
def test_hyphens_are_as_good_as_underscores_in_names_alone(spelled):
    options = _parser().parse_args([*spelled, "--", "--as-it-is"])
    assert (options.output_dir, options.images) == ("a-b", ["--as-it-is"])


# Their flags are described in groups, by dfk.config.
ARGPARSE = sorted(set(cli.COMMANDS) - {"train"})


@pytest.mark.parametrize("command", ARGPARSE)
def test_every_option_is_explained_and_names_its_value(command, capsys):
    assert cli.main([command, "--help"]) == 0
    listed = capsys.readouterr().out.partition("\noptions:\n")[2].splitlines()
    rows = [re.match(r"  --(\w+)(?: (\S+))?(?:  +(\S.*))?$", line) for line in listed]
    assert len(listed) and [line for line in listed if not line.startswith((" " * 4, "  -"))] == []
    for line, row, following in zip(listed, rows, [*listed[1:], ""], strict=True):
        if line.startswith("  --"):
            name, value, text = row.groups()
            assert text or re.match(r" {20}", following), line
            assert value is None or value != name.upper(), line


def test_the_help_shows_defaults(capsys):
    assert cli.main(["predict", "--help"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "images a call, if alike (default: 32)" in out
    assert "default: False" not in out and "default: None" not in out and "default: 0.0" not in out


@pytest.mark.parametrize(
    ("output", "given", "message"),
    [
        ("a.json", "--format=csv", "--output=a.json and --format=csv contradict"),
        ("a.csv", "--format=json", "--output=a.csv and --format=json contradict"),
        ("a.parquet", "--batch_size=1", "Parquet goes with --engine=ray"),
        ("a.csv", "--output_dir=b", "not allowed with"),
    ],
)
def test_the_suffix_of_a_file_is_its_format(output, given, message, capsys):
    assert cli.main(["predict", "unibuc", "x.png", f"--output={output}", given]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("output", "form"), [("a.JSON", "json"), ("a.jsonl", "json"), ("a", "csv")]
)
def test_without_a_format_the_suffix_decides(output, form):
    assert predict._parse(["unibuc", "x.png", f"--output={output}"]).format == form

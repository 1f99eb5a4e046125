"""Ctrl-C in real processes: one line and exit code 130, whatever it hits."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from dfk import cli
from dfk.system import interrupts
from tests.datasets import write_kaggle

ROOT = Path(__file__).parents[2]

# A command with what the test names, and what interrupts it.
_COMMAND = """
import ctypes, os, signal, sys, time
from dfk import cli

signal.signal(signal.SIGINT, signal.default_int_handler)  # A shell's background has it ignored.

def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0)

class Dying:
    def __del__(self):
        interrupt()

def command(arguments):
{body}
    return 0

sys.exit(cli.call(command, [], program="dfk test", resumable=False, last=True))
"""

_LOST = {
    "where it can be raised": "interrupt()",
    "in __del__": "Dying(); time.sleep(60)",
    "in a function that C calls": "ctypes.CFUNCTYPE(None)(interrupt)(); time.sleep(60)",
    "in C that prints it": """
    try:
        interrupt()
    except KeyboardInterrupt as error:
        sys.excepthook(type(error), error, error.__traceback__)
    time.sleep(60)""",
    "in C that makes a fault of its own of it, and prints that": """
    try:
        interrupt()
    except KeyboardInterrupt as error:
        fault = SystemError("<function> returned a result with an exception set")
        sys.excepthook(type(fault), fault, error.__traceback__)
    time.sleep(60)""",
    "in __del__ while C waits": "import threading; Dying(); threading.Lock().acquire(); "
    "lock = threading.Lock(); lock.acquire(); lock.acquire()",
    "in __del__ within a handler": """
    try:
        1 / 0
    except ZeroDivisionError:
        Dying()
        time.sleep(60)""",
    "by a handler that goes on": """
    try:
        interrupt()
    except:
        pass
    time.sleep(60)""",
    "by a handler, at the end": """
    try:
        interrupt()
    except:
        pass""",
    "as another error": """
    try:
        interrupt()
    except KeyboardInterrupt:
        raise RuntimeError("C++ made this of it")""",
}


def _start(body, **more):
    """A process that runs `body` as a command."""
    body = body if body.startswith("\n") else f"    {body}"
    return subprocess.Popen(
        [sys.executable, "-c", _COMMAND.format(body=body)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        **more,
    )


@pytest.mark.parametrize("body", _LOST.values(), ids=_LOST)
def test_an_interrupt_is_never_lost(body):
    with _start(body) as process:
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "", "dfk: interrupted\n")


_TIDY = """
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:
        print("tidying", flush=True)
        time.sleep({seconds})
        print("tidied", flush=True)"""


def test_tidying_up_is_left_in_peace():
    with _start(_TIDY.format(seconds=3 * interrupts._PATIENCE)) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "tidying\ntidied\n", "dfk: interrupted\n")


def test_a_second_interrupt_ends_even_that():
    with _start(_TIDY.format(seconds=60)) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "tidying\n"
        time.sleep(2.5 * interrupts._PATIENCE)  # Past those repeated in vain
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "", "dfk: interrupted\n")


def test_a_bug_is_no_interrupt():
    with _start("raise RuntimeError('a bug')") as process:
        _, err = process.communicate(timeout=30)
    assert process.returncode == 1 and "RuntimeError: a bug" in err and "Traceback" in err


def test_what_ignores_interrupts_goes_on_ignoring_them():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupts.Heeded(lambda: 130):
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_afterwards_all_is_as_before():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    hooks = sys.excepthook, sys.unraisablehook
    try:
        with pytest.raises(KeyboardInterrupt), interrupts.Heeded(lambda: 130):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(10)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert (sys.excepthook, sys.unraisablehook) == hooks
        time.sleep(2 * interrupts._PATIENCE)  # Nothing repeats it any more.
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_thread_may_run_a_command():
    codes = []
    thread = threading.Thread(target=lambda: codes.append(cli.main(["train", "--epochs=none"])))
    thread.start()
    thread.join()
    assert codes == [2]


# Interrupts itself as it imports what its first argument names.
_AT_IMPORT = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
at = sys.argv.pop(1)

class Finder:
    def find_spec(name, path=None, target=None):
        if name == at:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder)
"""
_DFK = "from dfk.cli import main; sys.exit(main())"
_RUN_EXPERIMENTS = "import runpy; runpy.run_path('run_experiments.py', run_name='__main__')"


@pytest.mark.parametrize(
    ("program", "module"),
    [
        (_DFK, "dfk.system.backend"),
        (_DFK, "dfk.commands.train"),
        (_DFK, "absl"),
        (_DFK, "numpy"),  # TensorFlow is at work there.
        (_RUN_EXPERIMENTS, "dfk.commands"),
        (_RUN_EXPERIMENTS, "absl"),
    ],
)
def test_an_interrupt_while_it_starts_is_one_line(program, module, tmp_path):
    arguments = ["train", f"--data_dir={tmp_path}", f"--output_dir={tmp_path}"]
    arguments = arguments if program == _DFK else arguments[1:]
    done = subprocess.run(
        [sys.executable, "-c", _AT_IMPORT + program, module, *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr.startswith("dfk: interrupted; continue with") and "Trace" not in done.stderr


def test_next_to_nothing_is_imported_before_interrupts_are_minded():
    code = (
        "import sys; before = set(sys.modules); import dfk.cli\n"
        "assert not {'absl', 'asyncio', 'logging', 'wrapt', 'numpy'} & (set(sys.modules) - before)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def _interrupted(arguments, seconds):
    """The exit code and the messages of a command that gets a SIGINT after so many seconds."""
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\nimport sys\n"
    with subprocess.Popen(
        [sys.executable, "-c", f"{code}print('started', flush=True)\n{_DFK}", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        # As users have it: TensorFlow is then imported with its own messages shut off.
        env={name: x for name, x in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"},
    ) as process:
        process.stdout.readline()
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
    return process.returncode, err


def _ended_well(code, err):
    """Whether it was interrupted, or had done all that it was to do."""
    assert "Traceback" not in err and "Exception ignored" not in err, err
    return (code == 130 and "dfk: interrupted" in err) or code in (0, -signal.SIGINT)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    return write_kaggle(folder, counts={"train": 20, "validation": 10}, size=64)


@pytest.mark.parametrize("seconds", [0.2, 2, 3.5])
def test_predict_ends_when_it_is_interrupted(seconds, images):
    code, err = _interrupted(["predict", "unibuc-small", str(images / "validation")], seconds)
    assert _ended_well(code, err)


def _arguments(command, images, output):
    one = ["unibuc-small"]
    return {
        "predict": [*one, str(images / "validation")],
        "evaluate": [*one, f"--data_dir={images}", f"--output_dir={output}"],
        "explain": [*one, str(images / "validation"), f"--output_dir={output}"],
        "export": [*one, f"--output_dir={output}"],
        "demo": [*one, "--port=0"],
        "info": one,
        "train": [
            *(f"--data_dir={images}", f"--output_dir={output}", "--image_size=16"),
            *("--epochs=2", "--class_weight="),
        ],
    }[command]


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", ["predict", "evaluate", "explain", "export", "demo", "info", "train"]
)
def test_every_command_ends_whenever_it_is_interrupted(command, images, tmp_path):
    codes = []
    for number in range(6):
        arguments = _arguments(command, images, tmp_path / str(number))
        code, err = _interrupted([command, *arguments], 0.3 + 1.3 * number)
        assert _ended_well(code, err), (number, code, err)
        codes.append(code)
        if codes[-2:] == [0, 0]:  # It was done by then.
            break
    assert codes.count(130) >= 2

"""Nothing but our data reaches stdout, whoever prints and however."""

import os
import sys

import pytest

from pipeline.stdout import stdout_to_stderr


def test_only_data_reaches_stdout_and_everything_is_put_back(capfd: pytest.CaptureFixture[str]):
    before = sys.stdout
    with stdout_to_stderr() as data:
        print("a library's print")
        sys.stdout.flush()
        os.write(1, b"a process's write\n")
        data.write("{}\n")
    assert sys.stdout is before
    os.write(1, b"afterwards\n")
    out, err = capfd.readouterr()
    assert out == "{}\nafterwards\n"
    assert "a library's print" in err
    assert "a process's write" in err

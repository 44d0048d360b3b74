"""How a command ends that could not do its work: with a sentence that says what to do, never with a trace.

Adapters translate what they know (`tasks.stores`, `infra`). What arrives here untranslated is a fault of ours, and is
called one.
"""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import threading
import traceback
from typing import Any

import click

FAILED, INTERRUPTED = 1, 130
_MAX_SHOWN = 100
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""What a disk has against being written, whoever writes: that is no fault of ours."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


class Commands(click.Group):
    """A group whose commands end with a sentence, whatever goes wrong. Lower groups need not be of this class."""

    def main(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - click's own
        """Run as a program: a SIGTERM ends it as Ctrl-C does, so that what it started ends, too."""
        _open_closed_streams()
        if threading.current_thread() is not threading.main_thread():
            return super().main(*args, **kwargs)
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            return super().main(*args, **kwargs)
        finally:
            signal.signal(signal.SIGTERM, before)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take `--debug` wherever it stands: it is written behind what has just failed. All are UTF-8."""
        for each in args:
            if not each.isascii() and any("\ud800" <= character <= "\udfff" for character in each):
                raise click.UsageError(f"{ascii(each)[:100]} is not UTF-8, as all names and paths must be", ctx)
        if "--debug" in args:
            args = ["--debug", *(each for each in args if each != "--debug")]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - whatever the command returns
        """Run a command, and say what went wrong."""
        from expectations.errors import DriftwheelError

        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # a name that the terminal cannot show is no reason to end
                stream.reconfigure(errors="backslashreplace")
        try:
            try:
                return super().invoke(ctx)
            finally:
                if sys.stdout is not None:  # here, where a reader that has gone (`| head`) is an error like others
                    sys.stdout.flush()
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            sys.exit(INTERRUPTED)
        except DriftwheelError as error:
            _trace(error)
            _say(error)
        except Exception as error:
            if isinstance(error, OSError) and error.errno == errno.EPIPE:
                raise  # click's own: nobody is there who would read a sentence
            _trace(error)
            if isinstance(error, OSError) and error.errno in _FULL and _is_output_stuck():
                _say(_unwritable_output(error))
            elif (known := _known_path(error)) is not None:
                _say(known)
            else:
                _say_fault(error, ctx)
        sys.exit(FAILED)


def _open_closed_streams() -> None:
    """Let what is closed lead nowhere (`>&-`): else a database, opened next, gets its number and what is printed."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            os.set_inheritable(number, True)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8", closefd=False))


def _known_path(error: Exception) -> Exception | None:
    """Return what is wrong with a path that a user gave, or is in, or with its disk; None where that is not it."""
    from expectations.errors import DriftwheelError
    from tasks.stores.files import storage_error

    if isinstance(error, OSError) and error.errno in _DISK:
        return storage_error("write to", error.filename or "a disk that this needs", error)
    if isinstance(error, OSError) and error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
        shown = str(error.filename)
        shown = shown if len(shown) <= _MAX_SHOWN else f"{shown[:_MAX_SHOWN]}…, of {len(shown):,} characters"
        return DriftwheelError("a path that can be", f"{error.strerror}: {shown}", "Correct the path")
    if isinstance(error, FileNotFoundError):
        try:
            os.getcwd()  # noqa: PTH109 - Path.cwd() is the same
        except FileNotFoundError:
            return DriftwheelError("a current folder", "one that was removed", "Change into one that is there (cd)")
    return None


def _is_output_stuck() -> bool:
    """Whether nothing more can be printed, tried with the end of a line."""
    try:
        print(flush=True)  # noqa: T201 - what `click.echo` does, without a look at the terminal
    except OSError:
        return True
    return False


def _unwritable_output(error: OSError) -> Exception:
    from expectations.errors import StorageError

    return StorageError(
        "room for what is printed, where standard output goes",
        str(error),
        "Print it elsewhere; what the command did is done",
    )


def _trace(error: Exception) -> None:
    from expectations.masking import mask
    from infra.environment import debugging

    if debugging():
        click.echo(mask("".join(traceback.format_exception(error))), err=True)


def _say(error: Exception) -> None:
    from expectations.errors import DriftwheelError, UseCaseError

    if isinstance(error, UseCaseError):
        click.secho(f"The use case {error.name!r} has {len(error.problems)} problem(s):", fg="red", err=True)
        for problem in error.problems:
            click.echo(f"  {problem}", err=True)
    elif isinstance(error, DriftwheelError):
        click.secho("Expected ", fg="red", nl=False, err=True)
        click.echo(error.expected, err=True)
        click.secho("found    ", fg="red", nl=False, err=True)
        click.echo(error.found, err=True)
        click.echo(f"→ {error.remedy}", err=True)


def _say_fault(error: Exception, ctx: click.Context) -> None:
    from expectations.masking import mask
    from infra.traces import keep_trace

    said = mask((str(error).strip().splitlines() or [""])[0])[:300]
    kept = keep_trace(error, " ".join(("driftwheel", *filter(None, (ctx.invoked_subcommand,)))))
    where = f" (it is kept in {kept})" if kept else ""
    click.secho("This is a fault of driftwheel: ", fg="red", nl=False, err=True)
    click.echo(f"{type(error).__name__}: {said}; run again with --debug for the trace{where}", err=True)

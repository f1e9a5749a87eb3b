"""Errors as one line and an exit status; silenced libraries."""

from __future__ import annotations

import contextlib
import errno
import logging
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import click

from ..errors import Cancelled, EditkitError, InvalidParameter, MissingCapability, own_name
from ..files.paths import exists
from .settings import apply_settings, settings_in_use, with_own_default

_VERBOSE = "editkit.verbose"
_HELP = {"-h", "--help"}

Settings = Literal["all", "own", "none"]
"""Settings that a command takes from the environment and the config file: those for all commands and its own, its own
alone, or none."""


class Command(click.Command):
    """A command that reports an error as one line, after the traceback if ``-v`` is given.

    ``headings`` are those of the options in its help, by their names; others are under "Other options".
    ``example`` is a command line for the end of the help. ``settings`` are those that it takes from the environment and
    the config file. One that only reads and prints (``reads_only``) works without a config file that cannot be read.
    """

    def __init__(
        self,
        name: str,
        headings: Mapping[str, str] | None = None,
        example: str = "",
        settings: Settings = "all",
        *,
        reads_only: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(name, **kwargs)
        self.headings, self.example, self.settings, self.reads_only = headings, example, settings, reads_only
        self.params.append(
            click.Option(
                ["-v", "--verbose"],
                is_flag=True,
                expose_value=False,
                callback=lambda ctx, param, value: ctx.meta.update({_VERBOSE: value}),
                help="Show tracebacks of errors and the messages of libraries.",
            )
        )

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if ctx.resilient_parsing:  # for completion
            return super().parse_args(ctx, args)
        # Click takes the last of several values, and another one would be dropped in silence.
        try:
            given, _, order = self.make_parser(ctx).parse_args(args=list(args))
        except click.NoSuchOption as error:
            self._name_own_option(ctx, error.option_name)
            file = next((word for word in args if word.startswith(error.option_name) and exists(word)), None)
            if file is not None:
                raise click.UsageError(
                    f"No such option {error.option_name!r}. Write the file as ./{file}", ctx
                ) from None
            raise
        for param, count in Counter(order).items():
            if count > 1 and isinstance(param, click.Option) and not _may_repeat(param):
                name = max(param.opts, key=len)
                raise click.UsageError(f"the option {name} is given {count} times: give it once", ctx)
        if self.settings != "none" and ctx.parent:
            self._apply_settings(ctx, given, for_help=bool(_HELP & set(args)))
        return super().parse_args(ctx, args)

    def _apply_settings(self, ctx: click.Context, given: Mapping[str, Any], *, for_help: bool) -> None:
        """Set defaults by the environment and the config file; for the help, what is wrong there is a warning."""
        try:
            apply_settings(ctx, given, shared=self.settings == "all", needs_file=not self.reads_only)
        except InvalidParameter as error:
            if not for_help:
                raise
            click.echo(f"Warning: {error}", err=True)

    def _name_own_option(self, ctx: click.Context, name: str) -> None:
        """Raise a UsageError with the option for what another editor calls ``name``, if there is one."""
        if name == "--resume":
            hint = "editkit batch goes on by itself, other commands by --skip-existing"
            raise click.UsageError(f"No such option {name!r}: {hint}", ctx)
        own = own_name(name, (option for param in self.get_params(ctx) for option in param.opts))
        if own:
            raise click.UsageError(f"No such option {name!r}. Did you mean {own!r}?", ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None and record[1]:  # click 8.5 has records of arguments, also without a text
                name, (title, text) = str(param.name), record
                heading = "Options" if self.headings is None else self.headings.get(name, "Other options")
                heading = "Arguments" if isinstance(param, click.Argument) else heading
                sections.setdefault(heading, []).append((title, with_own_default(ctx, name, text)))
        for heading, records in sections.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.example:
            with formatter.section("Example"):
                formatter.write(f"{'':{formatter.current_indent}}{self.example}\n")

    def invoke(self, ctx: click.Context) -> Any:
        for setting in settings_in_use(ctx).values() if ctx.meta[_VERBOSE] else ():
            click.echo(f"--{setting.option} is set by {setting.origin}", err=True)
        try:
            with contextlib.nullcontext() if ctx.meta[_VERBOSE] else _silence_libraries():
                return super().invoke(ctx)
        except (click.exceptions.Exit, BrokenPipeError):
            raise
        except (Exception, KeyboardInterrupt) as error:
            ctx.exit(report_error(error))


def _may_repeat(option: click.Option) -> bool:
    """Return whether all values of an option count, or all are equal."""
    return option.multiple or option.count or (option.is_flag and not option.secondary_opts)


@contextlib.contextmanager
def _silence_libraries() -> Iterator[None]:
    """Suppress log messages below errors, and warnings, of the libraries that the block calls."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def report_error(error: BaseException, about: str = "") -> int:
    """Print an error on standard error in one line and return the exit status.

    ``about`` names the input; it is added to a message that does not contain it.
    """
    context = click.get_current_context(silent=True)
    verbose = context is not None and context.meta.get(_VERBOSE, False)
    if verbose:
        click.echo("".join(traceback.format_exception(error)), err=True, nl=False)
    text, status = format_error(error, verbose=verbose)
    source = getattr(error, "ctx", None) or context
    text += _settings_text(source, text) if source else ""
    subject = f"{about}: " if about and about not in text else ""
    click.echo(f"Error: {subject}{' '.join(text.splitlines())}", err=True)
    return status


def _settings_text(context: click.Context, text: str) -> str:
    """Return where the options come from that a message names and the command line does not."""
    settings = settings_in_use(context).items()
    named = [one.origin for name, one in settings if f"{name}=" in text or f"--{one.option}" in text]
    return f" (set by {', '.join(named)})" if named else ""


def format_error(error: BaseException, *, verbose: bool) -> tuple[str, int]:
    """Return the message of an error, with advice, and its exit status."""
    if isinstance(error, EditkitError):
        return str(error), error.exit_status
    if isinstance(error, click.ClickException):
        context = error.ctx if isinstance(error, click.UsageError) else None
        advice = f" (see '{context.command_path} --help')" if context else ""
        return error.format_message() + advice, error.exit_code
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EBADF, errno.EIO) and error.filename is None:
        return f"standard output cannot be written: {error.strerror}", EditkitError.exit_status
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        return "cancelled", Cancelled.exit_status
    advice = "please report it" if verbose else "run with -v for the traceback; please report it"
    return f"{type(error).__name__}: {error} ({advice})", EditkitError.exit_status


class ErrorCollector:
    """Reports an error in one of several inputs, continues with the others, and keeps the worst exit status."""

    def __init__(self, count: int) -> None:
        self.several = count > 1
        self.status = 0

    @contextlib.contextmanager
    def attempt(self, name: str) -> Iterator[None]:
        """Run the block for the input ``name``; an error is reported if there are other inputs, else raised."""
        try:
            yield
        except (Cancelled, MissingCapability, BrokenPipeError):
            raise  # every other input would fail alike
        except Exception as error:
            if not self.several:
                raise
            self.status = max(self.status, report_error(error, name))

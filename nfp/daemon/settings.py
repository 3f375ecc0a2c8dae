"""Reads INI files into a configuration of its own, checked whole.

The registry of options is made here for each call; oslo.config's global one is never touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from oslo_config import cfg

DEFAULT = "DEFAULT"

Groups = Mapping[str, Sequence[cfg.Opt]]


class SettingsError(Exception):
    """The configuration cannot be used.

    :ivar problems: everything that is wrong with it, each naming the file or the option.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


def load(files: Sequence[str], groups: Groups) -> cfg.ConfigOpts:
    """Read *files*, later ones over earlier ones, and check every option of *groups*.

    Options of other groups are left alone: all components may share one file.

    :param groups: the options known, by section; ``DEFAULT`` for those without.
    :raises SettingsError: a file cannot be read or parsed, a value is missing or bad; all of them at once.
    """
    problems = [problem for path in files if (problem := _unreadable(path))]
    if problems:
        raise SettingsError(problems)
    config = cfg.ConfigOpts()
    for group, options in groups.items():
        config.register_opts(options, group=None if group == DEFAULT else group)
    try:
        config(
            args=[], project="nfp", default_config_files=list(files), default_config_dirs=[], use_env=False
        )
    except cfg.RequiredOptError:
        pass  # found again below, together with its fellows
    except cfg.ConfigFileParseError as error:
        raise SettingsError([_unparsed(error)]) from None
    except cfg.Error as error:
        raise SettingsError([str(error)]) from None
    problems = [
        problem
        for group, options in groups.items()
        for option in options
        if (problem := _bad(config, group, option))
    ]
    if problems:
        raise SettingsError(problems)
    return config


def _unreadable(path: str) -> str | None:
    try:
        with open(path, "rb") as file:
            file.read().decode("utf-8")
    except OSError as error:
        return f"{path}: {error.strerror or error}"
    except UnicodeDecodeError as error:
        return f"{path}: not UTF-8 text at byte {error.start}"
    return None


def _unparsed(error: cfg.ConfigFileParseError) -> str:
    """Say where a file breaks, without the line itself: it may hold a secret."""
    cause = error.__context__
    line = getattr(cause, "lineno", None)
    if line is None:
        return f"{error.config_file}: cannot be parsed"
    return f"{error.config_file}:{line}: {getattr(cause, 'msg', 'cannot be parsed')}"


def _bad(config: cfg.ConfigOpts, group: str, option: cfg.Opt) -> str | None:
    where = f"[{group}] {option.name}"
    try:
        value = (config if group == DEFAULT else config[group])[option.dest]
    except (cfg.Error, ValueError) as error:
        return f"{where}: {'not a valid value' if option.secret else _reason(error)}"
    if option.required and value is None:
        return f"{where}: is required"
    return None


def _reason(error: Exception) -> str:
    """The end of oslo.config's sentence; its beginning names the option again, by an internal object."""
    text = str(error)
    _, found, reason = text.partition("is not valid: ")
    return reason if found else text

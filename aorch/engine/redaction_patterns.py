"""What a redaction finds in texts: presets for the formats of common keys, and the owner's own regular expressions.

The presets run on Python's `re`, and each takes time in proportion to the text. Each begins with a literal text, for which `re`
searches fast. What can be repeated without limit is either last, so that nothing after it can fail, or cannot contain the
beginning of a match (a `jwt`), so that no part of the text is read again for another beginning. The owner's own expressions run
on RE2, which guarantees that for every expression (https://github.com/google/re2/wiki/WhyRE2), so that none can stop aorch from
writing.
"""

import re
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

from aorch.errors import ConfigInvalid

_URL_SAFE = "[A-Za-z0-9_-]"

PRESETS = {
    "anthropic": (r"sk-ant-(?<!\wsk-ant-)[A-Za-z0-9_-]{20,}",),
    "aorch": (r"aorch_(?<!\waorch_)[A-Za-z0-9_-]{43}",),
    "aws": (
        *(rf"{prefix}(?<!\w{prefix})[A-Z0-9]{{16}}\b" for prefix in ("AKIA", "ASIA", "ABIA", "ACCA")),
        r"[aA][wW][sS](?i:_?secret_?(?:access_?)?key)[\"']?\s{0,3}[=:]\s{0,3}[\"']?[A-Za-z0-9/+]{40}",
    ),
    "github": (r"gh[pousr]_(?<!\wgh[pousr]_)[A-Za-z0-9]{36,}", r"github_pat_(?<!\wgithub_pat_)[A-Za-z0-9_]{22,}"),
    "google": (r"AIza(?<!\wAIza)[A-Za-z0-9_-]{35}",),
    "jwt": (rf"eyJ(?<!{_URL_SAFE}eyJ){_URL_SAFE}{{10,}}\.eyJ{_URL_SAFE}{{10,}}\.{_URL_SAFE}{{10,}}",),
    "openai": (r"sk-(?<!\wsk-)(?:proj-|svcacct-|admin-)?[A-Za-z0-9_-]{20,}",),
    "private-key": (
        r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----[^-]*+(?:-(?!----)[^-]*+)*+"
        r"(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----)?",
    ),
    "slack": (
        r"xox[abeoprs]-(?<!\wxox[abeoprs]-)[A-Za-z0-9-]{10,}",
        r"xapp-(?<!\wxapp-)[A-Za-z0-9-]{10,}",
        r"hooks\.slack\.com/services/[A-Za-z0-9/_-]{20,}",
    ),
    "stripe": (
        r"[rsp]k_(?:live|test)_(?<!\w[rsp]k_live_)(?<!\w[rsp]k_test_)[A-Za-z0-9]{16,}",
        r"whsec_(?<!\wwhsec_)[A-Za-z0-9]{16,}",
    ),
    "url-password": (r"(?<=://)[^/\s:@]{0,100}:[^/\s:@]{1,200}(?=@)",),
}
"""The regular expressions of each preset."""

UNFINISHED = {
    "aws": re.compile(
        r"[aA][wW][sS](?i:_?secret_?(?:access_?)?key)[\"']?\s{0,3}(?:[=:]\s{0,3})?\Z",
    ),
    "private-key": re.compile(
        r"-----BEGIN (?:[A-Z0-9 ]{0,60}|[A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----[^-]*+(?:-(?!----)[^-]*+)*+"
        r"(?:-----END [A-Z0-9 ]{0,60})?)\Z"
    ),
}
"""Of the presets whose matches can contain white space: their beginning, at white space at the end of a text."""

Substitute = Callable[[Callable[[Any], str], str], str]
"""Replaces each match in a text (the second argument) by what a function makes of the match."""


def compiled(presets: Iterable[str], patterns: Iterable[str]) -> list[Substitute]:
    """These presets and regular expressions, for use one after the other. Raises ConfigInvalid for an invalid expression, and
    without the package for them.
    """
    found: list[Substitute] = []
    found += [re.compile(expression).sub for name in presets for expression in PRESETS[name]]
    for number, pattern in enumerate(patterns, 1):
        found.append(_linear(pattern, f"redact.patterns[{number}] {pattern!r}"))
    return found


def _linear(pattern: str, where: str) -> Substitute:
    try:
        re2 = import_module("re2")
    except ImportError as error:
        raise ConfigInvalid(
            "redact.patterns need the package google-re2, which is not installed",
            "Install it with `pip install 'aorch[redact]'`, or use redact.presets.",
        ) from error
    options = re2.Options()
    options.log_errors = False
    try:
        expression = re2.compile(pattern, options=options)
    except re2.error as error:
        reason = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else str(error)
        raise ConfigInvalid(
            f"{where} is not a valid regular expression: {reason}", "See https://github.com/google/re2/wiki/Syntax."
        ) from error
    if expression.search("") is not None:
        raise ConfigInvalid(f"{where} matches an empty text", "Write an expression that matches only secrets.")
    substitute: Substitute = expression.sub
    return substitute

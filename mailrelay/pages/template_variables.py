"""Variables of a template as people type them: JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from mailrelay.control.templates import UnusableTemplate
from mailrelay.templates.variables import MOST_SIZE, Variables

MOST_TYPED = 4 * MOST_SIZE
"""Characters, with the spaces and quotes between."""

FIELD = "variables"


def read_variables(text: str) -> Mapping[str, Any]:
    """What ``text`` says.  Raises: UnusableTemplate, which names the line or the variable."""
    if len(text) > MOST_TYPED:
        raise _wrong(f"they have more than {MOST_TYPED} characters")
    try:
        read = json.loads(text)
        json.dumps(read, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise _wrong(f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    except UnicodeEncodeError:
        raise _wrong("they have half of a surrogate pair") from None
    except (ValueError, RecursionError):
        raise _wrong("they nest too deep, or have too large a number") from None
    try:
        variables: Mapping[str, Any] = msgspec.convert(read, Variables)
    except msgspec.ValidationError as error:
        raise _wrong(str(error).replace("`$", "`variables")) from None
    return variables


def _wrong(text: str) -> UnusableTemplate:
    return UnusableTemplate(FIELD, f"the variables are no JSON object that can be used: {text}")

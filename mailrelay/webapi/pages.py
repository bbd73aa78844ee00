"""The pages of the webapi: what methods there are, and a form to try each."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec

from mailrelay.webapi.methods import Method
from mailrelay.webhooks.gojson import GoStruct, encode

ZERO_TIME = "0001-01-01T00:00:00Z"
_TIMES = {"date", "future_release"}

_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="robots" content="noindex">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font-family: system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem }}
textarea {{ width: 100%; font-family: ui-monospace, monospace; box-sizing: border-box }}
button {{ margin: .5rem 0; padding: .4rem 1rem }}
</style>
</head>
<body>
"""

_INDEX = """<h1>mailrelay webapi</h1>
<p>Send mail and look after what came, over HTTP. Each method takes a POST with the form field
<code>request</code>, which is JSON, and answers JSON; log in with an address of your account and
its password.</p>
<ul>
{methods}
</ul>
</body>
</html>
"""

_METHOD = """<p><a href="./">all methods</a></p>
<h1>{name}</h1>
<p>{about}</p>
<form id="call" method="post" enctype="multipart/form-data">
<p><label for="request">Request</label></p>
<textarea id="request" name="request" rows="{rows}">{request}</textarea>
<button>Call {name}</button>
</form>
{answer}</body>
</html>
"""

_ANSWER = """<p><label for="response">Response</label></p>
<textarea id="response" rows="15" readonly></textarea>
<script>
document.getElementById('call').addEventListener('submit', async function (event) {
  event.preventDefault();
  const response = document.getElementById('response');
  response.value = '';
  try {
    const answer = await fetch('', { method: 'POST', body: new FormData(event.target) });
    const text = await answer.text();
    try {
      response.value = JSON.stringify(JSON.parse(text), undefined, '\\t');
    } catch (error) {
      response.value = answer.status + ' ' + answer.statusText + '\\n' + text;
    }
  } catch (error) {
    response.value = 'the call failed: ' + error.message;
  }
});
</script>
"""


def index_page(methods: Iterable[Method]) -> str:
    """All methods, with links to their pages."""
    items = [
        f'<li><a href="{escape(m.name)}">{escape(m.name)}</a>: {escape(m.about)}</li>'
        for m in methods
    ]
    return _HEAD.format(title="mailrelay webapi") + _INDEX.format(methods="\n".join(items))


def method_page(method: Method) -> str:
    """A form with an example; without script where the answer is no JSON."""
    example = example_request(method.request)
    return _HEAD.format(title=f"{escape(method.name)} - mailrelay webapi") + _METHOD.format(
        name=escape(method.name),
        about=escape(method.about),
        rows=example.count("\n") + 2,
        request=escape(example),
        answer="" if method.is_bytes else _ANSWER,
    )


def example_request(request: type[GoStruct]) -> str:
    """A request with every field, indented by tabs; one element in each list and map."""
    return msgspec.json.format(encode(_example(request)), indent=4).decode().replace("    ", "\t")


def _example(type_: Any, name: str = "") -> Any:
    if name in _TIMES:
        return ZERO_TIME
    origin, arguments = get_origin(type_), get_args(type_)
    if origin in (Union, UnionType):
        return _example(next(a for a in arguments if a is not NoneType))
    if origin is list:
        return [_example(arguments[0])]
    if origin is dict:
        return {"": _example(arguments[1])}
    if isinstance(type_, type) and issubclass(type_, GoStruct):
        hints = get_type_hints(type_)
        return type_(**{field: _example(hints[field], field) for field in type_.__struct_fields__})
    return type_()

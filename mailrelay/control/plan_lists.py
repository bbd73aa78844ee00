"""What becomes of signed endpoints, templates and suppression lists.  Pure.

Where a list has nothing declared, it is left alone: lists are left out of most files.
"""

from __future__ import annotations

from mailrelay.control.changes import Change, Part, by_names, differences, taken
from mailrelay.control.declared import (
    Declared,
    DeclaredEndpoint,
    DeclaredSuppression,
    DeclaredTemplate,
)
from mailrelay.control.declaring import (
    Stored,
    declared_endpoint,
    declared_suppression,
    declared_template,
)
from mailrelay.control.endpoints import EndpointFields
from mailrelay.control.steps import (
    AddEndpoint,
    AddSuppression,
    AddTemplate,
    RemoveEndpoint,
    RemoveSuppression,
    RemoveTemplate,
    SetEndpoint,
    SetTemplate,
    Step,
)
from mailrelay.control.suppression import NewSuppression
from mailrelay.policy.suppression import is_whole_domain, listed_as
from mailrelay.smtp.address import Address
from mailrelay.templates.model import Source

_ENDPOINT = ("url", "events", "tags", "most_at_once", "most_together")
_TEMPLATE = ("subject", "text", "html")
_SUPPRESSION = ("cause", "manual", "reason", "evidence", "expires")


def endpoints_plan(stored: Stored, wanted: Declared) -> Part:
    """What becomes of the endpoints of accounts that are declared."""
    left = [(declared_endpoint(one), one.endpoint.id) for one in stored.standard]
    changes = []
    for one in wanted.webhook_endpoint:
        name = f"{one.account} {one.name}"
        names = _ENDPOINT if one.secret is None else (*_ENDPOINT, "secret")
        pair = taken(left, ("account", "name"), names, one)
        fields = EndpointFields(name=one.name, **{each: getattr(one, each) for each in _ENDPOINT})
        if pair is None:
            found = differences(DeclaredEndpoint(one.account, one.name, ""), one, names)
            step: Step = AddEndpoint(one.account, fields, one.secret)
            changes.append(Change("add", "endpoint", name, step, found))
        elif found := differences(pair[0], one, names):
            secret = one.secret if one.secret != pair[0].secret else None
            changes.append(
                Change("change", "endpoint", name, SetEndpoint(pair[1], fields, secret), found)
            )
    declared = {one.name for one in wanted.account}
    removals = [
        Change("remove", "endpoint", f"{one.account} {one.name}", RemoveEndpoint(id_))
        for one, id_ in left
        if one.account in declared
    ]
    return Part(changes, removals)


def templates_plan(stored: Stored, wanted: Declared) -> Part:
    """What becomes of the templates of accounts that are declared."""
    there = {(one.account, one.name): one for one in stored.templates}
    changes = []
    for one in wanted.template:
        name, source = f"{one.account} {one.name}", Source(one.subject, one.text, one.html)
        before = there.pop((one.account, one.name), None)
        if before is None:
            found = differences(DeclaredTemplate(one.account, one.name), one, _TEMPLATE)
            step: Step = AddTemplate(one.account, one.name, source)
            changes.append(Change("add", "template", name, step, found))
        elif found := differences(declared_template(before), one, _TEMPLATE):
            step = SetTemplate(one.account, before.id, one.name, source)
            changes.append(Change("change", "template", name, step, found))
    declared = {one.name for one in wanted.account}
    removals = [
        Change("remove", "template", f"{account} {name}", RemoveTemplate(account, one.id))
        for (account, name), one in there.items()
        if account in declared
    ]
    return Part(changes, removals)


def suppressions_plan(stored: Stored, wanted: Declared, now: float) -> Part:
    """What becomes of the lists of which something is declared."""
    there = {_key(one): one for one in map(declared_suppression, stored.suppressed)}
    changes = []
    for one in wanted.suppression:
        before = there.pop(_key(one), None)
        names = _SUPPRESSION if one.added is None else (*_SUPPRESSION, "added")
        new = AddSuppression(one.account, _new(one, now), is_replaced=before is not None)
        if before is None:
            found = differences(DeclaredSuppression(one.address), one, _SUPPRESSION)
            changes.append(Change("add", "suppression", _shown(one), new, by_names(found)))
        elif found := differences(before, one, names):
            changes.append(Change("change", "suppression", _shown(one), new, by_names(found)))
    removals = [
        Change("remove", "suppression", _shown(one), RemoveSuppression(account, base))
        for (account, base), one in there.items()
    ]
    return Part(changes, removals)


def _key(one: DeclaredSuppression) -> tuple[str | None, str]:
    return one.account, listed_as(one.address)


def _new(one: DeclaredSuppression, now: float) -> NewSuppression:
    return NewSuppression(
        Address.parse(one.address),
        now if one.added is None else one.added.timestamp(),
        one.manual,
        one.reason,
        one.cause,
        one.evidence,
        None if one.expires is None else one.expires.timestamp(),
        is_whole_domain(one.address),
    )


def _shown(one: DeclaredSuppression) -> str:
    return f"{one.account or 'the server'} {one.address}"

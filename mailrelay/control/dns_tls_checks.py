"""Whether DNS says what others may expect of TLS towards us: MTA-STS, DANE, CAA; and DNSSEC."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from mailrelay.control.dns_finding import Asked, Finding, Status, finding, missing
from mailrelay.control.dns_policy_checks import alias_finding
from mailrelay.control.dns_records import Record, Topic
from mailrelay.control.mta_sts import served_policy
from mailrelay.mailauth.mta_sts import MalformedPolicy, Policy, parse_policy, record_id
from mailrelay.net.http import CallFailed, HTTPAnswer

POLICY_PATH = "/.well-known/mta-sts.txt"
TRUST_ANCHOR = "2"

_Verdict = tuple[Status, str]


async def check_mta_sts(asked: Asked) -> AsyncIterator[Finding]:
    """Record, host and policy fit what we serve (RFC 8461 sections 3.1 and 3.3)."""
    wanted = asked.wanted(Topic.MTA_STS)
    name = f"_mta-sts.{asked.domain}"
    found = await asked.find(name, "TXT")
    try:
        there = record_id([value.encode("latin-1") for value in found.values])
        trouble = ""
    except MalformedPolicy as error:
        there, trouble = None, str(error)
    if not wanted:
        if there is not None or trouble:
            text = "there is a record, but the domain has no policy: take it away, or have one:"
            text += f" mailrelay domain set {asked.domain} --mta-sts testing"
            yield Finding(Topic.MTA_STS, name, "TXT", Status.WRONG, text, found.values)
        return
    record, alias = wanted
    if trouble:
        yield finding(record, Status.WRONG, trouble, found.values)
    elif there is None:
        yield missing([record])
    elif there != asked.of.mta_sts_id:
        text = "its id is not that of the policy we serve: senders do not hear of the change"
        yield finding(record, Status.WRONG, text, found.values)
    else:
        yield finding(record, Status.OK, "has the id of our policy", found.values)
    yield await alias_finding(asked, alias)
    yield await _policy_finding(asked, alias)


async def _policy_finding(asked: Asked, host: Record) -> Finding:
    url = f"https://{host.name}{POLICY_PATH}"
    try:
        answer = await asked.fetch(url)
    except CallFailed as error:
        status, text = Status.WRONG, f"the policy cannot be had: {error}"
        seen: Sequence[str] = ()
    else:
        status, text = _policy_verdict(asked, answer)
        seen = answer.body_start.decode("utf-8", "replace").split("\n")
    return Finding(Topic.MTA_STS, host.name, "https", status, text, seen)


def _policy_verdict(asked: Asked, answer: HTTPAnswer) -> _Verdict:
    if answer.status != 200:
        return Status.WRONG, f"the policy cannot be had: HTTP status {answer.status}"
    try:
        policy = parse_policy(answer.body_start)
    except MalformedPolicy as error:
        return Status.WRONG, str(error)
    ours = served_policy(asked.of.domain, [asked.of.host.hostname])
    if ours is None or _fixed(policy) != _fixed(ours):
        return Status.WRONG, "another policy than ours is served there"
    if policy.max_age != ours.max_age:
        return Status.WARNING, f"it is kept for {policy.max_age} seconds, and not {ours.max_age}"
    if not answer.headers.get("content-type", "").lower().startswith("text/plain"):
        return Status.WARNING, "it is not sent as text/plain, and some senders want that"
    return Status.OK, f"our policy is served, in mode {ours.mode}"


def _fixed(policy: Policy) -> tuple[str, frozenset[str]]:
    return policy.mode, frozenset(policy.hosts)


async def check_dane(asked: Asked) -> AsyncIterator[Finding]:
    """A TLSA record that fits no certificate of ours stops mail (RFC 7672 section 2.2)."""
    host = asked.of.host
    name = f"_{host.smtp_port or 25}._tcp.{host.hostname}"
    found = await asked.find(name, "TLSA")
    if not found.values:
        return
    wanted = [one for one in asked.records if one.topic is Topic.DANE]
    pins = {_normal(one.value) for one in wanted}
    there = [_normal(value) for value in found.values]
    status, text = _tlsa_verdict(pins, there, is_signed=found.is_authentic or not asked.validating)
    yield Finding(Topic.DANE, name, "TLSA", status, text, found.values, _instead(status, wanted))


def _instead(status: Status, wanted: Sequence[Record]) -> Sequence[Record]:
    return () if status is Status.OK else wanted


def _normal(value: str) -> tuple[str, ...]:
    """Usage, selector, type and digest, however they are written."""
    usage, selector, kind, *digest = value.lower().split()
    return usage, selector, kind, "".join(digest)


def _tlsa_verdict(
    pins: set[tuple[str, ...]], there: Sequence[tuple[str, ...]], *, is_signed: bool
) -> _Verdict:
    fitting = [one for one in there if one in pins]
    if not fitting and any(one[0] == TRUST_ANCHOR for one in there):
        return Status.WARNING, "it is of an authority, which is not compared: see that it is right"
    if not fitting:
        return Status.WRONG, "it fits no certificate of ours: senders with DANE deliver nothing"
    if not is_signed:
        return Status.WARNING, "the zone is not signed (DNSSEC): nobody goes by it"
    return Status.OK, "it is of the certificate in use"


async def check_caa(asked: Asked) -> AsyncIterator[Finding]:
    """Whoever makes our certificates may (RFC 8659 section 3)."""
    host = asked.of.host
    wanted = [one for one in asked.records if one.topic is Topic.CAA]
    if not wanted:
        return
    labels = host.hostname.split(".")
    for number in range(len(labels) - 1):
        name = ".".join(labels[number:])
        found = await asked.find(name, "CAA")
        if not found.values:
            continue
        may = [value for value in found.values if _permits(value, host.authority)]
        if may:
            yield finding(wanted[0], Status.OK, f"{host.authority} may make certificates", may)
        elif any(value.lower().split()[1] == "issue" for value in found.values):
            text = f"{host.authority} may make no certificates for names below {name}"
            yield finding(wanted[0], Status.WRONG, text, found.values)
        return


def _permits(value: str, authority: str) -> bool:
    _, tag, issuer = value.split(None, 2)
    return tag.lower() == "issue" and issuer.strip('"').partition(";")[0].strip() == authority


async def check_dnssec(asked: Asked) -> AsyncIterator[Finding]:
    """Told where the resolver is one that validates; neither is wrong."""
    if not asked.validating:
        return
    found = await asked.find(asked.domain, "MX")
    text = "the zone is signed" if found.is_authentic else "the zone is not signed: no DANE"
    yield Finding(Topic.DNSSEC, asked.domain, "", Status.OK, text)


TLS_CHECKS = (
    (Topic.MTA_STS, check_mta_sts),
    (Topic.DANE, check_dane),
    (Topic.CAA, check_caa),
    (Topic.DNSSEC, check_dnssec),
)

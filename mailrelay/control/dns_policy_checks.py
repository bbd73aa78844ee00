"""Whether DNS says how mail is signed, and what is to be done with mail that is not ours."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from mailrelay.control.dns_finding import Asked, Finding, Status, finding, missing
from mailrelay.control.dns_records import Record, Topic
from mailrelay.directory.dkim import KeyState, StoredKey
from mailrelay.directory.model import DMARCPolicy
from mailrelay.mailauth.dkim import Algorithm, MalformedKey, parse_key
from mailrelay.mailauth.tags import MalformedTags, parse_tags, without_space

_STRENGTH = {policy.value: number for number, policy in enumerate(DMARCPolicy)}
_Verdict = tuple[Status, str]


async def check_dkim(asked: Asked) -> AsyncIterator[Finding]:
    """Each key is published as it is (RFC 6376 section 3.6.1)."""
    if not asked.of.keys:
        name = f"_domainkey.{asked.domain}"
        text = f"mail is not signed: mailrelay dkim add {asked.domain}, then publish its records"
        yield Finding(Topic.DKIM, name, "TXT", Status.MISSING, text)
    for key in asked.of.keys:
        if key.state is KeyState.RETIRED:
            continue
        [wanted] = asked.wanted(Topic.DKIM, key.name)
        found = await asked.find(key.name, "TXT")
        if not found.values:
            yield missing([wanted])
        else:
            yield finding(wanted, *_key_verdict(key, found.values), found.values)


def _key_verdict(key: StoredKey, values: Sequence[str]) -> _Verdict:
    if len(values) > 1:
        return Status.WRONG, f"there are {len(values)} TXT records: leave the key's alone"
    algorithm = Algorithm(key.algorithm)
    try:
        there = parse_key(values[0].encode("latin-1"), algorithm)
    except MalformedKey as error:
        return Status.WRONG, f"{error}: signatures of {key.selector} fail"
    if there.public != parse_key(key.record.encode(), algorithm).public:
        return Status.WRONG, f"it is another key: signatures of {key.selector} fail"
    if there.is_testing:
        return Status.WARNING, "t=y says that it is only a test: some give nothing for it"
    return Status.OK, _KEY_TEXT[key.state]


_KEY_TEXT = {
    KeyState.ACTIVE: "mail is signed with this key",
    KeyState.NEXT: "the server signs with this key once it has seen it, within five minutes",
}


async def check_dmarc(asked: Asked) -> AsyncIterator[Finding]:
    """The policy is what we want, and reports arrive (RFC 7489 section 6.3)."""
    wanted, *allowed = asked.wanted(Topic.DMARC)
    found = await asked.find(wanted.name, "TXT")
    records = [value for value in found.values if _is_versioned(value, "DMARC1")]
    if not records:
        text = f"there is no DMARC record: {wanted.why}"
        if found.values:
            text = "there is a TXT record, which is none of DMARC: it must begin with v=DMARC1"
            yield finding(wanted, Status.WRONG, text, found.values)
        else:
            yield missing([wanted], text)
    elif len(records) > 1:
        text = f"there are {len(records)} DMARC records, and so none counts: leave one"
        yield finding(wanted, Status.WRONG, text, records)
    else:
        yield finding(wanted, *_dmarc_verdict(asked, records[0]), records)
    for record in allowed:
        permitted = (await asked.find(record.name, "TXT")).values
        if any(_is_versioned(value, "DMARC1") for value in permitted):
            yield finding(record, Status.OK, "reports may go there", permitted)
        else:
            yield missing([record], f"reports are not sent there without it: {record.why}")


def _dmarc_verdict(asked: Asked, text: str) -> _Verdict:
    try:
        tags = parse_tags(text)
    except MalformedTags as error:
        return Status.WRONG, f"it cannot be read: {error}"
    policy, wished = tags.get("p", "").lower(), asked.of.domain.dmarc
    if policy not in _STRENGTH:
        return Status.WRONG, f"p={policy} is none of none, quarantine, reject"
    if _STRENGTH[policy] < _STRENGTH[wished]:
        return Status.WRONG, f"p={policy} is weaker than {wished}, which the domain is to have"
    if _STRENGTH[policy] > _STRENGTH[wished]:
        again = f"mailrelay domain set {asked.domain} --dmarc {policy}"
        return Status.WARNING, f"p={policy} is stronger than {wished}: publish that, or say {again}"
    below = tags.get("sp", policy).lower()
    if _STRENGTH.get(below, 0) < _STRENGTH[policy]:
        return Status.WARNING, f"sp={below} is weaker than p: names below the domain can be forged"
    if tags.get("pct", "100") != "100" or tags.get("t", "n").lower() == "y":
        return Status.WARNING, "pct or t=y has it applied to a part of the mail only"
    return _reports_verdict(tags, asked.of.reports.dmarc, f"the policy is {policy}")


def _reports_verdict(tags: Mapping[str, str], wished: str, well: str) -> _Verdict:
    """Whether reports come to ``wished``; the order and others beside it do not matter."""
    uris = [uri.partition("!")[0].lower() for uri in without_space(tags.get("rua", "")).split(",")]
    if wished and f"mailto:{wished}".lower() not in uris:
        there = f"go to {', '.join(uris)}" if any(uris) else "go nowhere"
        return Status.WARNING, f"reports {there}, and not to {wished}"
    return Status.OK, well


async def check_tlsrpt(asked: Asked) -> AsyncIterator[Finding]:
    """Reports of TLS arrive (RFC 8460 section 3)."""
    for wanted in asked.wanted(Topic.TLSRPT):
        found = await asked.find(wanted.name, "TXT")
        records = [value for value in found.values if _is_versioned(value, "TLSRPTv1")]
        if not records and found.values:
            text = "it is none of TLSRPT, which begins with v=TLSRPTv1"
            yield finding(wanted, Status.WRONG, text, found.values)
        elif not records:
            yield missing([wanted])
        elif len(records) > 1:
            text = f"there are {len(records)} records, and so none counts: leave one"
            yield finding(wanted, Status.WRONG, text, records)
        else:
            yield finding(wanted, *_tlsrpt_verdict(asked, records[0]), records)


def _tlsrpt_verdict(asked: Asked, text: str) -> _Verdict:
    try:
        tags = parse_tags(text)
    except MalformedTags as error:
        return Status.WRONG, f"it cannot be read: {error}"
    if not tags.get("rua"):
        return Status.WRONG, "it has no rua=, and so nobody is told"
    return _reports_verdict(tags, asked.of.reports.tls, "reports come here")


def _is_versioned(text: str, version: str) -> bool:
    """Whether a record's first tag is this version."""
    name, _, value = text.partition(";")[0].partition("=")
    return name.strip(" \t") == "v" and value.strip(" \t") == version


async def check_clients(asked: Asked) -> AsyncIterator[Finding]:
    """Mail programs find the server (RFC 6186 section 3)."""
    for wanted in asked.wanted(Topic.CLIENTS):
        if wanted.type == "SRV":
            yield await _service(asked, wanted)
        else:
            yield await alias_finding(asked, wanted)


async def _service(asked: Asked, wanted: Record) -> Finding:
    found = await asked.find(wanted.name, "SRV")
    if not found.values:
        return missing([wanted])
    _, _, port, target = wanted.value.split()
    there = [value.lower().split()[2:] for value in found.values]
    if [port, target] not in there:
        text = f"does not lead to {target} port {port}: {wanted.why}"
        return finding(wanted, Status.WRONG, text, found.values)
    return finding(wanted, Status.OK, wanted.why, found.values)


async def alias_finding(asked: Asked, wanted: Record) -> Finding:
    """An alias of the server's name, or a name with an address of ours."""
    found = await asked.addresses_of(wanted.name)
    if not found.values:
        return missing([wanted])
    seen = [found.name] if found.name != wanted.name else found.values
    if found.name == asked.of.host.hostname or set(found.values) & set(asked.addresses):
        return finding(wanted, Status.OK, wanted.why, seen)
    return finding(wanted, Status.WRONG, f"does not lead to this server: {wanted.why}", seen)


POLICY_CHECKS = (
    (Topic.DKIM, check_dkim),
    (Topic.DMARC, check_dmarc),
    (Topic.TLSRPT, check_tlsrpt),
    (Topic.CLIENTS, check_clients),
)

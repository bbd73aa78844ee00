"""What relay rules are about, checked: senders, hosts, logins.  Pure."""

from __future__ import annotations

from mailrelay.control.errors import Refusal
from mailrelay.routing.next_hop import MalformedNextHop, parse_next_hops, parse_port
from mailrelay.routing.relay_files import NULL_SENDER, normal_key
from mailrelay.smtp.address import Address, MalformedAddress, normal_domain


def sender_key(text: str) -> str:
    """The key of a domain, an address, or the null sender.  Raises: Refusal."""
    if text.strip() == NULL_SENDER:
        return NULL_SENDER
    bare = text.strip().removeprefix("@")
    if bare.startswith("#"):
        raise Refusal(f"{text!r} would be a comment in the file")
    try:
        return (
            f"@{normal_domain(bare)}" if "@" not in bare else normal_key(str(Address.parse(bare)))
        )
    except MalformedAddress as error:
        raise Refusal(f"{text!r} is neither a domain nor an address: {error}") from None


def domain_key(text: str) -> str:
    """The key of a whole domain.  Raises: Refusal."""
    key = sender_key(text)
    if not key.startswith("@"):
        raise Refusal(f"{text} is an address: only whole domains can be excluded")
    return key


def host_key(text: str) -> str:
    """The key of a next hop, or of a host by its name.  Raises: Refusal."""
    try:
        hops = parse_next_hops(text)
    except MalformedNextHop as error:
        raise Refusal(str(error)) from None
    if len(hops) != 1:
        raise Refusal(f"{text!r} is not one next hop")
    return hops[0].key


def bracketed(host: str, port: str) -> str:
    """A host that is connected to as it is named.  Raises: Refusal."""
    bare = host.strip()
    if bare.startswith("[") and bare.endswith("]"):
        bare = bare[1:-1]
    try:
        parse_port(port)
        [hop] = parse_next_hops(f"[{bare}]:{port}")
    except (MalformedNextHop, ValueError) as error:
        raise Refusal(f"{host!r} with port {port!r} is no relay host: {error}") from None
    return f"[{hop.host}]:{port}"


def login(username: str, password: str) -> str:
    """``user:password``, as it can be read again.  Raises: Refusal."""
    if not username or ":" in username or username[0].isspace():
        raise Refusal("the user name must not be empty, have a colon, or begin with a blank")
    if not password or password[-1].isspace():
        raise Refusal("the password must not be empty or end with a blank")
    login = f"{username}:{password}"
    if not login.isprintable():
        raise Refusal("user name and password must be printable characters")
    return login

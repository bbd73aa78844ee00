"""The directory as it is declared in a file: what ``export`` writes and ``apply`` reads.

Names are the file's own.  What is None was not said; of secrets that means that they stay as they
are, of anything else that there is none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from attrs import field, frozen

from mailrelay.directory.aliases import OnDisabled, Rewrite
from mailrelay.directory.keys import Scope
from mailrelay.directory.model import DMARCPolicy, MTASTSMode
from mailrelay.policy.suppression import Cause


@frozen
class DeclaredDomain:
    """A domain whose mail is taken."""

    name: str
    separator: str = "+"
    case_sensitive: bool = False
    disabled: bool = False
    dmarc: DMARCPolicy = DMARCPolicy.NONE
    mta_sts: MTASTSMode = MTASTSMode.NONE


@frozen
class DeclaredIncoming:
    """Where an account is called for messages in its mailbox."""

    url: str
    authorization: str | None = field(default=None, repr=False)


@frozen
class DeclaredOutgoing:
    """Where an account is called for what became of its messages.  No ``events`` are all."""

    url: str
    events: Sequence[str] = ()
    authorization: str | None = field(default=None, repr=False)
    has_every_event: bool = False


@frozen
class DeclaredAccount:
    """An account and what is its own.  Durations are seconds; ``@domain`` is a catch-all."""

    name: str
    full_name: str = ""
    addresses: Sequence[str] = ()
    login_disabled: bool = False
    password_file: Path | None = None
    password_hash: str | None = field(default=None, repr=False)
    scram_verifier: str | None = field(default=None, repr=False)
    quota_bytes: int | None = None
    messages_per_day: int | None = None
    new_recipients_per_day: int | None = None
    from_id_logins: Sequence[str] = ()
    retired_kept_for: float | None = None
    calls_kept_for: float | None = None
    outgoing_webhook: DeclaredOutgoing | None = None
    incoming_webhook: DeclaredIncoming | None = None


@frozen
class DeclaredAlias:
    """An alias; ``@domain`` is a catch-all."""

    address: str
    members: Sequence[str] = ()
    post_public: bool = False
    list_members: bool = False
    allow_from: bool = False
    disabled: bool = False
    on_disabled: OnDisabled = OnDisabled.REJECT
    owner: str | None = None
    posters: Sequence[str] = ()
    rewrite: Rewrite = Rewrite.NONE
    dmarc_fallback: bool = False
    is_list: bool = False
    removes_after: int | None = None
    requires_dkim: bool = False


@frozen
class DeclaredKey:
    """An API key.  Without its hash it is one that is there already."""

    account: str
    name: str
    scopes: Sequence[Scope]
    senders: Sequence[str] = ()
    networks: Sequence[str] = ()
    expires: datetime | None = None
    requests_per_minute: int | None = None
    key_hash: str | None = field(default=None, repr=False)  # hexadecimal
    scram_verifier: str | None = field(default=None, repr=False)


@frozen
class DeclaredRule:
    """A hold rule.  None is any; an empty sender is the null one."""

    account: str | None = None
    sender: str | None = None
    recipient: str | None = None
    everything: bool = False  # must be said of a rule that says nothing else


@frozen
class DeclaredEndpoint:
    """A signed endpoint.  Without its secret it keeps what it has, or gets a new one."""

    account: str
    name: str
    url: str
    events: Sequence[str] = ()
    tags: Sequence[str] = ()
    most_at_once: int = 50
    most_together: int = 1
    secret: str | None = field(default=None, repr=False)


@frozen
class DeclaredTemplate:
    """What a template says in its newest version."""

    account: str
    name: str
    subject: str = ""
    text: str = ""
    html: str = ""


@frozen
class DeclaredSuppression:
    """An address, or ``*@domain``, on the list of an account, or without one on the server's."""

    address: str
    account: str | None = None
    added: datetime | None = None  # when it is applied
    cause: Cause = Cause.MANUAL
    manual: bool = True
    reason: str = ""
    evidence: str = ""
    expires: datetime | None = None


@frozen
class Declared:
    """The whole directory, or what of it is to be as said."""

    postmaster: str | None = None  # name of the account
    everything_to: str | None = None
    domain: Sequence[DeclaredDomain] = ()
    account: Sequence[DeclaredAccount] = ()
    key: Sequence[DeclaredKey] = ()
    hold_rule: Sequence[DeclaredRule] = ()
    webhook_endpoint: Sequence[DeclaredEndpoint] = ()
    template: Sequence[DeclaredTemplate] = ()
    suppression: Sequence[DeclaredSuppression] = ()
    alias: Sequence[DeclaredAlias] = ()


@frozen
class Declaration:
    """What a file says, with the passwords by the names of accounts."""

    declared: Declared
    passwords: Mapping[str, str] = field(factory=dict, repr=False)

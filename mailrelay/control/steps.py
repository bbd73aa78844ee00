"""What an application of a declared directory is made of: each step is one change of the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, TypeAlias

from attrs import field, frozen

from mailrelay.control.account import EndpointChange
from mailrelay.control.endpoints import EndpointFields
from mailrelay.control.suppression import NewSuppression
from mailrelay.directory.keys import APIKey
from mailrelay.directory.model import Domain
from mailrelay.smtp.address import Address
from mailrelay.templates.model import Source


@frozen
class AddDomain:
    """Take mail for a domain."""

    action: ClassVar[str] = "domain add"
    domain: Domain

    @property
    def subject(self) -> str:
        """What is audited."""
        return self.domain.name


@frozen
class SetDomain:
    """Change columns of a domain."""

    action: ClassVar[str] = "domain set"
    subject: str  # its name
    values: Mapping[str, object]


@frozen
class RemoveDomain:
    """Remove a domain without addresses."""

    action: ClassVar[str] = "domain remove"
    subject: str


@frozen
class AddAccount:
    """Make an account."""

    action: ClassVar[str] = "account add"
    subject: str  # its name
    values: Mapping[str, object] = field(repr=False)


@frozen
class SetAccount:
    """Change columns and webhooks of an account."""

    action: ClassVar[str] = "account set"
    subject: str
    values: Mapping[str, object] = field(repr=False, factory=dict)
    endpoints: Sequence[EndpointChange] = ()


@frozen
class RemoveAccount:
    """Remove an account without addresses and messages, and all that is its own."""

    action: ClassVar[str] = "account remove"
    subject: str


@frozen
class AddAddress:
    """Give an account an address, which nobody has or somebody else had."""

    action: ClassVar[str] = "address add"
    localpart: str
    domain: str
    account: str
    is_moved: bool = False

    @property
    def subject(self) -> str:
        """What is audited."""
        return f"{self.localpart}@{self.domain} {self.account}"


@frozen
class RemoveAddress:
    """Take an address away."""

    action: ClassVar[str] = "address remove"
    localpart: str
    domain: str

    @property
    def subject(self) -> str:
        """What is audited."""
        return f"{self.localpart}@{self.domain}"


@frozen
class SetDuty:
    """Have an account do what one account does, such as being the postmaster."""

    action: ClassVar[str] = "setting"
    subject: str  # the setting
    account: str


@frozen
class AddKey:
    """Keep a key that was made elsewhere, or before."""

    action: ClassVar[str] = "key add"
    account: str
    key: APIKey

    @property
    def subject(self) -> str:
        """What is audited."""
        return f"{self.account} {self.key.name}"


@frozen
class SetKey:
    """Change what a key may do; its id and hash stay."""

    action: ClassVar[str] = "key set"
    key: APIKey

    @property
    def subject(self) -> str:
        """What is audited."""
        return str(self.key.id)


@frozen
class RemoveKey:
    """Revoke a key."""

    action: ClassVar[str] = "key remove"
    id: int

    @property
    def subject(self) -> str:
        """What is audited."""
        return str(self.id)


@frozen
class AddAlias:
    """Make an alias."""

    action: ClassVar[str] = "alias add"
    key: tuple[str, str]
    values: Mapping[str, object]
    members: Sequence[Address]

    @property
    def subject(self) -> str:
        """What is audited."""
        return f"{self.key[0]}@{self.key[1]}"


@frozen
class SetAlias:
    """Change columns of an alias, and who is in it; somebody stays."""

    action: ClassVar[str] = "alias set"
    key: tuple[str, str]
    values: Mapping[str, object]
    removed: Sequence[Address] = ()
    added: Sequence[Address] = ()

    @property
    def subject(self) -> str:
        """What is audited."""
        return f"{self.key[0]}@{self.key[1]}"


@frozen
class RemoveAlias:
    """Remove an alias with its list."""

    action: ClassVar[str] = "alias remove"
    key: tuple[str, str]

    @property
    def subject(self) -> str:
        """What is audited."""
        return f"{self.key[0]}@{self.key[1]}"


DirectoryStep: TypeAlias = (
    AddDomain
    | SetDomain
    | RemoveDomain
    | AddAccount
    | SetAccount
    | RemoveAccount
    | AddAddress
    | RemoveAddress
    | SetDuty
    | AddAlias
    | SetAlias
    | RemoveAlias
    | AddKey
    | SetKey
    | RemoveKey
)


@frozen
class AddRule:
    """Hold what fits, and what of it is ready."""

    account: str | None
    sender: str | None
    recipient: str | None


@frozen
class RemoveRule:
    """Hold no more by a rule."""

    id: int


@frozen
class AddEndpoint:
    """Call an account at one more place; without a secret it gets a new one."""

    account: str
    fields: EndpointFields
    secret: str | None = field(repr=False)


@frozen
class SetEndpoint:
    """Change an endpoint; with a secret it is that which signs, and the old one for a while."""

    id: int
    fields: EndpointFields
    secret: str | None = field(repr=False)


@frozen
class RemoveEndpoint:
    """Call it no more."""

    id: int


@frozen
class AddTemplate:
    """Store a template."""

    account: str
    name: str
    source: Source


@frozen
class SetTemplate:
    """Make a new version of a template."""

    account: str
    id: int
    name: str
    source: Source


@frozen
class RemoveTemplate:
    """Remove a template with its versions."""

    account: str
    id: int


@frozen
class AddSuppression:
    """Send no more to an address; ``is_replaced`` when it is listed otherwise."""

    account: str | None
    new: NewSuppression
    is_replaced: bool = False


@frozen
class RemoveSuppression:
    """Send to an address again."""

    account: str | None
    base: str


LoneStep: TypeAlias = (
    AddRule
    | RemoveRule
    | AddEndpoint
    | SetEndpoint
    | RemoveEndpoint
    | AddTemplate
    | SetTemplate
    | RemoveTemplate
    | RemoveSuppression
)
"""Made one at a time, as a command would."""

Step: TypeAlias = DirectoryStep | LoneStep | AddSuppression

"""What there is to see, in the order in which it is offered."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from attrs import frozen


@frozen
class Section:
    """A page that the menu leads to.  ``key`` is what its templates set as ``section``."""

    key: str
    path: str
    text: str


@frozen
class Group:
    """Sections under one heading."""

    heading: str
    sections: Sequence[Section]


ACCOUNT: Sequence[Group] = (
    Group(
        "Messages",
        (
            Section("mail", "/", "Mail"),
            Section("sent", "/sent", "Sent"),
            Section("write", "/write", "Write"),
            Section("overview", "/overview", "Overview"),
        ),
    ),
    Group(
        "Application",
        (
            Section("suppressions", "/suppressions", "Suppressions"),
            Section("webhooks", "/webhooks", "Webhooks"),
            Section("keys", "/keys", "API keys"),
            Section("templates", "/templates", "Templates"),
        ),
    ),
    Group(
        "Account",
        (
            Section("holds", "/holds", "Hold rules"),
            Section("aliases", "/aliases", "Aliases"),
            Section("settings", "/settings", "Settings"),
        ),
    ),
)

ADMIN: Sequence[Group] = (
    Group(
        "Mail",
        (
            Section("queue", "/admin/queue", "Queue"),
            Section("calls", "/admin/calls", "Webhook calls"),
            Section("works", "/admin/works", "Works"),
            Section("destinations", "/admin/destinations", "Destinations"),
            Section("holds", "/admin/holds", "Hold rules"),
        ),
    ),
    Group(
        "Directory",
        (
            Section("domains", "/admin/domains", "Domains"),
            Section("accounts", "/admin/accounts", "Accounts"),
            Section("aliases", "/admin/aliases", "Aliases"),
        ),
    ),
    Group(
        "Ways",
        (
            Section("routes", "/admin/routes", "Routes"),
            Section("relays", "/admin/relays", "Relay hosts"),
            Section("peers", "/admin/peers", "Peers"),
            Section("explain", "/admin/explain", "Explain"),
        ),
    ),
    Group(
        "Server",
        (
            Section("health", "/admin/health", "Health"),
            Section("certificates", "/admin/certificates", "Certificates"),
            Section("lists", "/admin/lists", "Blocklists"),
            Section("reports", "/admin/reports", "Reports"),
            Section("config", "/admin/config", "Configuration"),
            Section("audit", "/admin/audit", "Audit log"),
            Section("security", "/admin/security", "Login"),
        ),
    ),
)


def served(groups: Sequence[Group], paths: Collection[str]) -> Sequence[Group]:
    """The part of a menu that this server has pages for."""
    left = [
        Group(one.heading, [section for section in one.sections if section.path in paths])
        for one in groups
    ]
    return [group for group in left if group.sections]

"""The tables, as the newest migration leaves them.

Times are seconds since the epoch in double precision, ids are below 2^53.  An entry's row changes
state in place; ``entry_living`` holds it while it lives, and so does exactly one of ``entry_due``
and ``entry_held`` while no node claims it, ``entry_claimed`` while one does.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

metadata = MetaData()

# SQLite gives a rowid only to INTEGER; PostgreSQL wants 64 bits.
ID = BigInteger().with_variant(Integer, "sqlite")


def _id() -> Column[int]:
    return Column("id", ID, primary_key=True, autoincrement=True)


setting = Table(
    "setting",
    metadata,
    Column("name", String(100), primary_key=True),
    Column("value", Text, nullable=False),
)

id_block = Table(
    "id_block",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("next", ID, nullable=False),
)

node = Table(
    "node",
    metadata,
    _id(),
    Column("name", String(255), nullable=False, unique=True),
    Column("epoch", ID, nullable=False),
    Column("heartbeat", ID, nullable=False),
)

change = Table(
    "change",
    metadata,
    _id(),
    Column("at", Double, nullable=False),
    Column("kind", String(40), nullable=False),
    Column("subject", Text, nullable=False),
    sqlite_autoincrement=True,
)

domain = Table(
    "domain",
    metadata,
    _id(),
    Column("name", String(255), nullable=False, unique=True),
    Column("separator", String(8), nullable=False),
    Column("case_sensitive", Boolean, nullable=False),
    Column("disabled", Boolean, nullable=False),
    Column("mta_sts", String(10), nullable=False, server_default="none"),  # the mode we serve
    Column("mta_sts_changed_at", Double),  # of which its policy's id is made
    Column("dmarc", String(10), nullable=False, server_default="none"),  # the policy to publish
)

account = Table(
    "account",
    metadata,
    _id(),
    Column("name", String(255), nullable=False, unique=True),
    Column("full_name", String(255), nullable=False),
    Column("login_disabled", Boolean, nullable=False),
    Column("password_hash", Text),  # argon2id
    Column("scram_verifier", Text),
    Column("quota_bytes", ID),
    Column("used_bytes", ID, nullable=False),
    Column("messages_per_day", Integer),
    Column("from_id_logins", Text),  # JSON: the login addresses whose mail gets a FromID
    Column("retired_kept_for", Double),  # seconds; the server's when null
    Column("calls_kept_for", Double),
    Column("new_recipients_per_day", Integer),
    Column("forward_to", Text),  # where its mail goes, once that is confirmed
    Column("forward_confirmed_at", Double),
    Column("forward_keeps_copy", Boolean, nullable=False, server_default=false()),
    Column("totp", Text),  # JSON: the second factor of its pages
)

address = Table(
    "address",
    metadata,
    _id(),
    Column("account_id", ID, nullable=False),
    Column("localpart", String(255), nullable=False),  # "" is the domain's catch-all
    Column("domain", String(255), nullable=False),
    UniqueConstraint("localpart", "domain"),
)

alias = Table(
    "alias",
    metadata,
    _id(),
    Column("localpart", String(255), nullable=False),
    Column("domain", String(255), nullable=False),
    Column("post_public", Boolean, nullable=False),
    Column("list_members", Boolean, nullable=False),
    Column("allow_from", Boolean, nullable=False),
    Column("disabled", Boolean, nullable=False),
    Column("on_disabled", String(10), nullable=False),  # reject, drop or defer
    Column("owner", Text, nullable=False),  # "" for none
    Column("posters", Text, nullable=False),  # JSON: others who may post
    Column("rewrite", String(10), nullable=False, server_default="none"),  # none, srs or alias
    Column("dmarc_fallback", Boolean, nullable=False, server_default=false()),
    Column("is_list", Boolean, nullable=False, server_default=false()),  # it adds List-* fields
    Column("removes_after", Integer),  # failures in a row that take a member off
    Column("requires_dkim", Boolean, nullable=False, server_default=false()),
    UniqueConstraint("localpart", "domain"),
)

alias_member = Table(
    "alias_member",
    metadata,
    Column("alias_id", ID, primary_key=True, autoincrement=False),
    Column("address", String(400), primary_key=True),
    Column("failures", Integer, nullable=False, server_default="0"),  # in a row
    Column("failed_at", Double),  # the newest of them
    Column("late_failures", Integer, nullable=False, server_default="0"),  # told of by reports
    Column("late_failed_at", Double),  # when the newest of them was counted
)

message = Table(
    "message",
    metadata,
    Column("id", ID, primary_key=True, autoincrement=False),
    Column("account_id", ID),
    Column("reverse_path", Text, nullable=False),
    Column("received_at", Double, nullable=False),
    Column("size_bytes", ID, nullable=False),
    Column("door", String(20), nullable=False),
    Column("message_id", Text),
    Column("subject", Text, nullable=False),
    Column("flags", SmallInteger, nullable=False),
    Column("ret", String(4)),
    Column("envid", Text),
    Column("extra", Text),  # JSON: what the application wants to hear again
    Column("remote_ip", String(45)),
    Column("tags", Text),  # JSON; in message_tag, too
    Column("verdict", Text),  # JSON: who it is from, when that was judged
    Index(
        "message_of_account",
        "account_id",
        "id",
        sqlite_where=text("account_id IS NOT NULL"),
        postgresql_where=text("account_id IS NOT NULL"),
    ),
    Index(
        "message_by_message_id",
        "message_id",
        sqlite_where=text("account_id IS NOT NULL AND message_id IS NOT NULL"),
        postgresql_where=text("account_id IS NOT NULL AND message_id IS NOT NULL"),
    ),
    Index(
        "message_by_envid",
        "envid",
        sqlite_where=text("account_id IS NOT NULL AND envid IS NOT NULL"),
        postgresql_where=text("account_id IS NOT NULL AND envid IS NOT NULL"),
    ),
)

message_tag = Table(
    "message_tag",
    metadata,
    Column("account_id", ID, primary_key=True, autoincrement=False),
    Column("tag", String(100), primary_key=True),
    Column("message_id", ID, primary_key=True, autoincrement=False),
    Index("message_tag_of", "message_id"),
)

content = Table(
    "content",
    metadata,
    Column("message_id", ID, primary_key=True, autoincrement=False),
    Column("body_size_bytes", ID, nullable=False),
    Column("spool_name", String(64)),
    Column("prefix", LargeBinary, nullable=False),
    Column("body", LargeBinary),
    Column("kept_until", Double),  # it may be sent again, though no entry needs it
    Index(
        "content_kept",
        "kept_until",
        sqlite_where=text("kept_until IS NOT NULL"),
        postgresql_where=text("kept_until IS NOT NULL"),
    ),
    # Without it a start would look at every content for the few that are in the spool.
    Index(
        "content_spooled",
        "spool_name",
        sqlite_where=text("spool_name IS NOT NULL"),
        postgresql_where=text("spool_name IS NOT NULL"),
    ),
)

content_chunk = Table(
    "content_chunk",
    metadata,
    Column("spool_name", String(64), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
)

entry = Table(
    "entry",
    metadata,
    Column("id", ID, primary_key=True, autoincrement=False),
    Column("message_id", ID, nullable=False),
    Column("account_id", ID),
    Column("recipient", Text, nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("queued_at", Double, nullable=False),
    Column("next_attempt_at", Double, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("last_attempt_at", Double),
    Column("lane", ID, nullable=False),
    Column("node_id", ID, nullable=False),  # 0: nobody's
    Column("epoch", ID, nullable=False),
    Column("notify", String(30), nullable=False),
    Column("orcpt", Text),
    Column("delay_reported", SmallInteger, nullable=False),
    Column("keep_until", Double),
    Column("outcome", String(20)),
    Column("from_id", String(64)),
    Column("reverse_path", Text),  # when it is not the message's: with the FromID, a list owner's
    Column("alias", Text),  # by which it came
    Column("edit", LargeBinary),  # of its copy's header
    Column("member_of", ID),  # the alias that takes the recipient off when it fails
    Column("transport", String(100)),  # that an operator chose; else routes decide
    Index(
        "entry_from_id",
        "from_id",
        sqlite_where=text("from_id IS NOT NULL"),
        postgresql_where=text("from_id IS NOT NULL"),
    ),
    Index(
        "entry_due",
        "next_attempt_at",
        "lane",
        sqlite_where=text("state = 0 AND node_id = 0"),
        postgresql_where=text("state = 0 AND node_id = 0"),
    ),
    Index(
        "entry_urgent",
        "next_attempt_at",
        "lane",
        sqlite_where=text("state = 0 AND node_id = 0 AND lane >= 4294967296"),
        postgresql_where=text("state = 0 AND node_id = 0 AND lane >= 4294967296"),
    ),
    Index(
        "entry_claimed",
        "node_id",
        sqlite_where=text("node_id <> 0"),
        postgresql_where=text("node_id <> 0"),
    ),
    Index(
        "entry_held",
        "id",
        sqlite_where=text("state = 1"),
        postgresql_where=text("state = 1"),
    ),
    Index(
        "entry_living",
        "id",
        sqlite_where=text("state <> 2"),
        postgresql_where=text("state <> 2"),
    ),
    Index(
        "entry_retired",
        "keep_until",
        sqlite_where=text("state = 2"),
        postgresql_where=text("state = 2"),
    ),
    Index("entry_message", "message_id"),
)

event = Table(
    "event",
    metadata,
    Column("position", ID, primary_key=True, autoincrement=True),
    Column("at", Double, nullable=False),
    Column("kind", String(20), nullable=False),
    Column("message_id", ID, nullable=False),
    Column("entry_id", ID),
    Column("account_id", ID),
    Column("data", LargeBinary, nullable=False),  # JSON
    Index("event_message", "message_id"),
    Index(
        "event_of_account",
        "account_id",
        "position",
        sqlite_where=text("account_id IS NOT NULL"),
        postgresql_where=text("account_id IS NOT NULL"),
    ),
    sqlite_autoincrement=True,
)

mailbox = Table(
    "mailbox",
    metadata,
    _id(),
    Column("account_id", ID, nullable=False),
    Column("name", String(255), nullable=False),
    Column("uid_validity", ID, nullable=False),
    Column("uid_next", ID, nullable=False),
    UniqueConstraint("account_id", "name"),
)

mailbox_message = Table(
    "mailbox_message",
    metadata,
    Column("id", ID, primary_key=True, autoincrement=False),
    Column("account_id", ID, nullable=False),
    Column("mailbox_id", ID, nullable=False),
    Column("uid", ID, nullable=False),
    Column("message_id", ID, nullable=False),  # whose content this is
    Column("entry_id", ID, unique=True),  # delivered by it, once
    Column("flags", Text, nullable=False),
    Column("reverse_path", Text, nullable=False),
    Column("recipient", Text, nullable=False),
    Column("received_at", Double, nullable=False),
    Column("size_bytes", ID, nullable=False),  # with its own prefix
    Column("subject", Text, nullable=False),
    Column("prefix", LargeBinary, nullable=False),
    Column("remote_ip", String(45)),
    Index("mailbox_message_of", "mailbox_id", "uid"),
    Index("mailbox_message_of_account", "account_id", "id"),
    Index("mailbox_message_content", "message_id"),
)

suppression = Table(
    "suppression",
    metadata,
    _id(),
    Column("account_id", ID, nullable=False),  # 0: the server's, for every account
    Column("base_address", Text, nullable=False),  # *@domain: the whole of it
    Column("original_address", Text, nullable=False),
    Column("added_at", Double, nullable=False),
    Column("manual", Boolean, nullable=False),
    Column("reason", Text, nullable=False),
    Column("cause", String(20), nullable=False, server_default=""),
    Column(
        "evidence", Text, nullable=False, server_default=""
    ),  # the reply, or what the report says
    Column("entry_id", ID),  # whose outcome it was
    Column("expires_at", Double),
    UniqueConstraint("account_id", "base_address"),
    Index(
        "suppression_expires",
        "expires_at",
        sqlite_where=text("expires_at IS NOT NULL"),
        postgresql_where=text("expires_at IS NOT NULL"),
    ),
)

sent_to = Table(
    "sent_to",
    metadata,
    Column("account_id", ID, primary_key=True, autoincrement=False),
    Column("recipient", Text, primary_key=True),  # in lower case
    Column("first_at", Double, nullable=False),
    Index("sent_to_first", "account_id", "first_at"),
)

failure_streak = Table(
    "failure_streak",
    metadata,
    Column("recipient", Text, primary_key=True),
    Column("failures", Integer, nullable=False),  # in a row, of any account's mail
)

hold_rule = Table(
    "hold_rule",
    metadata,
    _id(),
    Column("account_id", ID),
    Column("sender", Text),
    Column("recipient", Text),
)

webhook_endpoint = Table(
    "webhook_endpoint",
    metadata,
    _id(),
    Column("account_id", ID, nullable=False),
    Column("kind", String(20), nullable=False),  # outgoing, incoming or standard
    Column("url", Text, nullable=False),
    Column("authorization", Text, nullable=False),
    Column("events", Text, nullable=False),  # JSON, empty for all
    Column("name", String(100), nullable=False, server_default=""),
    Column("tags", Text, nullable=False, server_default="[]"),  # JSON, empty for all
    Column("secrets", Text, nullable=False, server_default="[]"),  # JSON, the newest first
    Column("most_at_once", Integer),  # calls under way
    Column("most_together", Integer),  # events in one call
    Column("created_at", Double),
    Column("disabled_at", Double),
    Column("disabled_because", Text, nullable=False, server_default=""),
    Column("has_every_event", Boolean, nullable=False, server_default=false()),  # of mox's kinds
    Index("webhook_endpoint_of", "account_id"),
)

call = Table(
    "call",
    metadata,
    _id(),
    Column("account_id", ID, nullable=False),
    Column("url", Text, nullable=False),
    Column("authorization", Text, nullable=False),
    Column("event", String(20), nullable=False),
    Column("entry_id", ID),
    Column("message_id", ID),
    Column("payload", LargeBinary, nullable=False),
    Column("queued_at", Double, nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("next_attempt_at", Double, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("lane", ID, nullable=False),
    Column("node_id", ID, nullable=False),  # 0: nobody's
    Column("epoch", ID, nullable=False),
    Column("superseded_by", ID),
    Column("is_success", Boolean),
    Column("keep_until", Double),
    Column("endpoint_id", ID),  # of a standard endpoint
    Column("replay_of", ID),
    Index("call_of_account", "account_id", "id"),
    Index(
        "call_of_endpoint",
        "endpoint_id",
        "id",
        sqlite_where=text("endpoint_id IS NOT NULL"),
        postgresql_where=text("endpoint_id IS NOT NULL"),
    ),
    Index(
        "call_due",
        "next_attempt_at",
        "lane",
        sqlite_where=text("state = 0 AND node_id = 0"),
        postgresql_where=text("state = 0 AND node_id = 0"),
    ),
    Index(
        "call_claimed",
        "node_id",
        sqlite_where=text("node_id <> 0"),
        postgresql_where=text("node_id <> 0"),
    ),
    Index(
        "call_of_entry",
        "entry_id",
        sqlite_where=text("entry_id IS NOT NULL"),
        postgresql_where=text("entry_id IS NOT NULL"),
    ),
    Index(
        "call_retired",
        "keep_until",
        sqlite_where=text("state = 2"),
        postgresql_where=text("state = 2"),
    ),
    sqlite_autoincrement=True,
)

call_attempt = Table(
    "call_attempt",
    metadata,
    _id(),
    Column("call_id", ID, nullable=False),
    Column("at", Double, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("is_success", Boolean, nullable=False),
    Column("code", Integer, nullable=False),  # 0: there was no answer
    Column("error", Text, nullable=False),
    Column("response", Text, nullable=False),  # its first 512 bytes
    Index("call_attempt_of", "call_id"),
)

api_key = Table(
    "api_key",
    metadata,
    _id(),
    Column("account_id", ID, nullable=False),
    Column("name", String(100), nullable=False),
    Column("key_hash", LargeBinary, nullable=False, unique=True),  # SHA-256
    Column("scram_verifier", Text, nullable=False),
    Column("scopes", String(100), nullable=False),  # with commas
    Column("senders", Text, nullable=False),  # JSON, empty for all
    Column("networks", Text, nullable=False),  # JSON, empty for all
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("requests_per_minute", Integer),
    Column("last_used_at", Double),
    Index("api_key_of", "account_id"),
    sqlite_autoincrement=True,
)

idempotency_key = Table(
    "idempotency_key",
    metadata,
    Column("account_id", ID, primary_key=True, autoincrement=False),
    Column("key", String(255), primary_key=True),
    Column("request_hash", LargeBinary, nullable=False),
    Column("status", SmallInteger, nullable=False),
    Column("answer", LargeBinary, nullable=False),
    Column("expires_at", Double, nullable=False),
    Index("idempotency_key_expires", "expires_at"),
)

template = Table(
    "template",
    metadata,
    _id(),
    Column("account_id", ID, nullable=False),
    Column("name", String(100), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("version", Integer, nullable=False),  # the newest, which is used
    UniqueConstraint("account_id", "name"),
    sqlite_autoincrement=True,
)

template_version = Table(
    "template_version",
    metadata,
    Column("template_id", ID, primary_key=True, autoincrement=False),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("created_at", Double, nullable=False),
    Column("subject", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("html", Text, nullable=False),
)

# Events counted: of each message once under the tag "", and once under each tag that it has.
statistic = Table(
    "statistic",
    metadata,
    Column("account_id", ID, primary_key=True, autoincrement=False),
    Column("hour", Integer, primary_key=True, autoincrement=False),  # since the epoch
    Column("tag", String(100), primary_key=True),
    Column("domain", String(255), primary_key=True),  # the recipient's
    Column("kind", String(20), primary_key=True),
    Column("count", ID, nullable=False),
    Index("statistic_hour", "hour"),
)

# Relay rules beside the files and the environment.
relay_rule = Table(
    "relay_rule",
    metadata,
    Column("kind", String(20), primary_key=True),  # map, password, exclude, route, chain
    Column("key", String(400), primary_key=True),
    Column("value", Text, nullable=False),
)

# What is out of a node's relay hosts and chains.
relay_alarm = Table(
    "relay_alarm",
    metadata,
    Column("node_id", ID, primary_key=True, autoincrement=False),
    Column("subject", String(1000), primary_key=True),
    Column("since", Double, nullable=False),
    Column("reason", Text, nullable=False),
)

peer = Table(
    "peer",
    metadata,
    _id(),
    Column("name", String(64), nullable=False, unique=True),
    Column("protocol", String(20), nullable=False),  # mailrelay/1 or zotonic
    Column("url", Text, nullable=False),  # of its endpoint; "" when it only calls us
    Column("callback_url", Text, nullable=False),  # where it hears of its mail; "" when it asks
    Column("account_id", ID),  # whose what it hands to us is
    Column("disabled", Boolean, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("options", Text, nullable=False),  # JSON
    sqlite_autoincrement=True,
)

peer_key = Table(
    "peer_key",
    metadata,
    _id(),
    Column("peer_id", ID, nullable=False),
    Column("is_ours", Boolean, nullable=False),  # we sign requests with it; else the peer does
    Column("key_id", String(64), nullable=False),
    Column("secret", LargeBinary, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    UniqueConstraint("peer_id", "is_ours", "key_id"),
)

# How it stands with a peer; written often, and no part of the directory.
peer_state = Table(
    "peer_state",
    metadata,
    Column("peer_id", ID, primary_key=True, autoincrement=False),
    Column("last_contact_at", Double),
    Column("alarm", Text, nullable=False, server_default=""),
    Column("alarm_since", Double),
    Column("their_position", ID, nullable=False, server_default="0"),  # of its events: taken in
    Column("our_position", ID, nullable=False, server_default="0"),  # of ours: it has them
    Column("removed_position", ID, nullable=False, server_default="0"),  # of ours: gone up to here
    Column("settled_position", ID, nullable=False, server_default="0"),  # looked at for no bounce
)

# What a peer handed to us.
peer_message = Table(
    "peer_message",
    metadata,
    Column("message_id", ID, primary_key=True, autoincrement=False),
    Column("peer_id", ID, nullable=False),
    Column("msg_id", String(200), nullable=False),  # its own
    Column("hops", Text, nullable=False),  # JSON: servers before us
    Column("extra", Text, nullable=False),  # JSON: told again with every event
    Column("webhook_url", Text),  # where a zotonic peer wants to hear
    Column("created_at", Double, nullable=False),
    Index("peer_message_of", "peer_id", "msg_id"),
)

# What we hand to a peer: repeated byte for byte under its key until it is answered.
peer_request = Table(
    "peer_request",
    metadata,
    Column("peer_id", ID, primary_key=True, autoincrement=False),
    Column("key", String(128), primary_key=True),
    Column("message_id", ID, nullable=False),
    Column("entries", Text, nullable=False),  # JSON: [entry id, recipient as written]
    Column("meta", LargeBinary, nullable=False),  # the first line of the body
    Column("created_at", Double, nullable=False),
    Column("answered_at", Double),
    Column("relay_id", Text),  # what the peer calls it
    Column("results", Text),  # JSON: what it answered, by the entries' ids
    Column("open_until", Double),  # when no more is expected of it; null once all is final
    Index("peer_request_message", "message_id"),
)

dkim_key = Table(
    "dkim_key",
    metadata,
    _id(),
    Column("domain", String(255), nullable=False),
    Column("selector", String(63), nullable=False),
    Column("algorithm", String(20), nullable=False),
    Column("pem", LargeBinary, nullable=False),  # PKCS #8
    Column("record", Text, nullable=False),  # to publish
    Column("state", String(10), nullable=False),  # next, active or retired
    Column("created_at", Double, nullable=False),
    Column("removed_at", Double),  # when a retired one goes
    UniqueConstraint("domain", "selector"),
)

# Suppression that is shared with a peer, the newest change of each address.
peer_suppression = Table(
    "peer_suppression",
    metadata,
    Column("peer_id", ID, primary_key=True, autoincrement=False),
    Column("address", String(400), primary_key=True),
    Column("is_suppressed", Boolean, nullable=False),
    Column("reason", Text, nullable=False),
    Column("changed_at", Double, nullable=False),
    Column("is_told", Boolean, nullable=False),  # the peer has it, or it came from there
)

# Policies of other domains (RFC 8461), until they expire.
mta_sts_policy = Table(
    "mta_sts_policy",
    metadata,
    Column("domain", String(255), primary_key=True),
    Column("policy_id", String(32), nullable=False),
    Column("mode", String(10), nullable=False),
    Column("hosts", Text, nullable=False),  # JSON: the patterns of its mx lines
    Column("fetched_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
)

# How TLS went with a domain's hosts on a day, counted for its report (RFC 8460).
tls_result = Table(
    "tls_result",
    metadata,
    Column("day", Integer, primary_key=True, autoincrement=False),  # since the epoch, UTC
    Column("domain", String(255), primary_key=True),
    Column("key_hash", LargeBinary, primary_key=True),  # of policy and details
    Column("policy", Text, nullable=False),  # JSON
    Column("details", Text, nullable=False),  # JSON: of a failure; {} for success
    Column("sessions", ID, nullable=False),
)

# What was judged of a message whose domain asks for reports (RFC 7489 section 7.2).
dmarc_result = Table(
    "dmarc_result",
    metadata,
    _id(),
    Column("domain", String(255), nullable=False),  # that published the policy
    Column("at", Double, nullable=False),
    Column("record", Text, nullable=False),  # JSON
    Index("dmarc_result_of", "domain", "at"),
)

# Reports that we made, and of which span, so that none is made twice.
report_made = Table(
    "report_made",
    metadata,
    Column("kind", String(10), primary_key=True),  # dmarc or tls
    Column("domain", String(255), primary_key=True),
    Column("began_at", Double, primary_key=True),
    Column("ended_at", Double, nullable=False),
    Column("made_at", Double, nullable=False),
    Column("message_id", ID),
    Column("outcome", Text, nullable=False),
)

# Reports that came in.
report = Table(
    "report",
    metadata,
    _id(),
    Column("kind", String(10), nullable=False),  # dmarc, tls or feedback
    Column("domain", String(255), nullable=False),  # of ours
    Column("organization", String(255), nullable=False),
    Column("report_id", String(255), nullable=False),
    Column("began_at", Double, nullable=False),
    Column("ended_at", Double, nullable=False),
    Column("received_at", Double, nullable=False),
    Column("message_id", ID),
    Column("source", String(255), nullable=False),  # the domain in From, or who posted it
    Column("is_verified", Boolean, nullable=False),  # DMARC says that it is from there
    Column("succeeded", ID, nullable=False),  # messages, or sessions
    Column("failed", ID, nullable=False),
    Column("content", Text, nullable=False),  # JSON
    UniqueConstraint("kind", "source", "report_id", "domain"),
    Index("report_received", "received_at"),
    sqlite_autoincrement=True,
)

# Who was told to come again later, and who did.
greylisted = Table(
    "greylisted",
    metadata,
    Column("key_hash", LargeBinary, primary_key=True),  # of network, sender and recipient
    Column("first_at", Double, nullable=False),
    Column("last_at", Double, nullable=False),
    Column("passed_at", Double),
    Index("greylisted_last", "last_at"),
)

# Senders whose mail an account has taken before.
known_sender = Table(
    "known_sender",
    metadata,
    Column("account_id", ID, primary_key=True, autoincrement=False),
    Column("sender", String(400), primary_key=True),  # as its validated domain, or address, is
    Column("first_at", Double, nullable=False),
    Column("last_at", Double, nullable=False),
)

# Addresses of ours in the lists that are watched.
listing = Table(
    "listing",
    metadata,
    Column("zone", String(255), primary_key=True),
    Column("address", String(45), primary_key=True),
    Column("listed_since", Double),
    Column("text", Text, nullable=False),
    Column("checked_at", Double, nullable=False),
    Column("error", Text, nullable=False),
)

# Who is logged in on the pages.
session = Table(
    "session",
    metadata,
    Column("token_hash", LargeBinary, primary_key=True),  # SHA-256
    Column("account_id", ID, nullable=False),  # 0: the administrator
    Column("credential_hash", LargeBinary, nullable=False),  # of what was logged in with
    Column("created_at", Double, nullable=False),
    Column("seen_at", Double, nullable=False),
    Column("ip", String(45), nullable=False),
    Column("agent", Text, nullable=False),
    Index("session_of", "account_id"),
    Index("session_seen", "seen_at"),
)

# What is done to many things, piece by piece, also when the server stops meanwhile.
work = Table(
    "work",
    metadata,
    _id(),
    Column("account_id", ID, nullable=False),  # whose it is; 0: the administrator's
    Column("node_id", ID, nullable=False),  # that does it
    Column("kind", String(40), nullable=False),
    Column("wanted", Text, nullable=False),  # JSON: what it is done to
    Column("actor", String(255), nullable=False),
    Column("state", String(10), nullable=False),  # running, done, stopped or failed
    Column("began_at", Double, nullable=False),
    Column("ended_at", Double),
    Column("total", ID, nullable=False),
    Column("done", ID, nullable=False),
    Column("changed", ID, nullable=False),
    Column("after_id", ID, nullable=False),  # what has a smaller id is done
    Column("error", Text, nullable=False),
    sqlite_autoincrement=True,
)

work_result = Table(
    "work_result",
    metadata,
    Column("work_id", ID, primary_key=True, autoincrement=False),
    Column("subject_id", ID, primary_key=True, autoincrement=False),
    Column("outcome", String(40), nullable=False),
)

audit = Table(
    "audit",
    metadata,
    _id(),
    Column("at", Double, nullable=False),
    Column("actor", String(255), nullable=False),
    Column("action", String(100), nullable=False),
    Column("subject", Text, nullable=False),
)

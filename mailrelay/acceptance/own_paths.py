"""The reverse-paths by which it is known what comes back, and for which recipient.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mailrelay.acceptance.envelope import Envelope, Source
from mailrelay.acceptance.refusal import Refused
from mailrelay.directory.model import Directory
from mailrelay.policy.from_id import (
    ONE_RECIPIENT,
    from_id_in,
    gets_from_ids,
    new_from_id,
    with_from_id,
)
from mailrelay.smtp.address import Address


def own_paths(
    directory: Directory, source: Source, envelope: Envelope, token: Callable[[], str]
) -> Sequence[tuple[str | None, Address | None]]:
    """Each recipient's FromID, and the reverse-path that has it.  Raises: Refused."""
    submitter, path = source.submitter, envelope.reverse_path
    none = [(None, None)] * len(envelope.recipients)
    gets_ids = source.has_from_ids or gets_from_ids(directory, submitter.account, submitter.login)
    if path is None or not gets_ids:
        return none
    chosen = from_id_in(directory, path) if source.keeps_from_id else None
    if chosen is not None:
        if len(none) > 1:
            raise Refused(ONE_RECIPIENT)
        return [(chosen, None)]
    ids = [new_from_id(token()) for _ in none]
    paths = [with_from_id(directory, path, one) for one in ids]
    return none if None in paths else list(zip(ids, paths, strict=True))

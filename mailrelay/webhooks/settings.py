"""``[webhooks]`` of the configuration."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import field, frozen


@frozen
class WebhookSettings:
    """Where calls may go."""

    allowed_networks: Sequence[str] = field(
        factory=tuple,
        metadata={"doc": "networks that may be called though they are not on the internet"},
    )

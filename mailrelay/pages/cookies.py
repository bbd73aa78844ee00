"""The cookie of a session (RFC 6265)."""

from __future__ import annotations

from attrs import frozen

from mailrelay.web.headers import Headers


@frozen
class Cookie:
    """One that is sent with requests of our own pages only, and that no script reads.

    Over TLS its name keeps a host without TLS, or another of the same domain, from setting it.
    """

    name: str

    def _name(self, *, is_secure: bool) -> str:
        return f"__Host-{self.name}" if is_secure else self.name

    def value(self, headers: Headers, *, is_secure: bool) -> str | None:
        """What the client sent; the first, if it sent several."""
        wanted = self._name(is_secure=is_secure)
        for line in headers.all("cookie"):
            for pair in line.split(";"):
                name, equals, value = pair.strip(" \t").partition("=")
                if equals and name == wanted:
                    return value
        return None

    def set(self, value: str, seconds: float, *, is_secure: bool) -> str:
        """A Set-Cookie field."""
        secure = "; Secure" if is_secure else ""
        return (
            f"{self._name(is_secure=is_secure)}={value}; Path=/; Max-Age={int(seconds)}; HttpOnly;"
            f" SameSite=Strict{secure}"
        )

    def clear(self, *, is_secure: bool) -> str:
        """A Set-Cookie field that takes it away."""
        return self.set("", 0, is_secure=is_secure)


ACCOUNT = Cookie("mailrelay")
ADMIN = Cookie("mailrelay-admin")

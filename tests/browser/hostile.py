"""What a stranger's message tries, and a listener that must never hear of it (threat 22)."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from attrs import define, field, frozen

MARK = "owned"
PNG = bytes.fromhex("89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de")


@define
class Listener:
    """A web server that remembers who came: each request's line, Referer and Cookie."""

    port: int = 0
    heard: list[tuple[str, str | None, str | None]] = field(factory=list)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def listener() -> Iterator[Listener]:
    """One that listens, on a thread of its own."""
    found = Listener()

    class Remembering(BaseHTTPRequestHandler):
        """Every request is answered with a picture."""

        def do_GET(self) -> None:
            """See the base class."""
            headers = self.headers
            found.heard.append((self.path, headers["Referer"], headers["Cookie"]))
            self.send_response(200)
            self.send_header("Content-Type", "image/png")
            self.send_header("Content-Length", str(len(PNG)))
            self.end_headers()
            self.wfile.write(PNG)

        do_POST = do_HEAD = do_OPTIONS = do_GET

        def log_message(self, *_: Any) -> None:
            """See the base class."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Remembering) as server:
        found.port = server.server_address[1]
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield found
        server.shutdown()
        thread.join()


@frozen
class Attack:
    """Texts that would do something if they were taken for HTML, a script or a style."""

    url: str

    @property
    def script(self) -> str:
        """Leaves its mark, and asks the listener."""
        return f"top.name='{MARK}';window.{MARK}=1;alert(1);new Image().src='{self.url}/script'"

    @property
    def line(self) -> str:
        """For every field that takes a line."""
        return (
            f"</title></textarea></style></script>'\"><script>{self.script}</script>"
            f"<img src={self.url}/line onerror={self.script}> {{{{7*7}}}} javascript:alert(1)"
        )

    @property
    def short(self) -> str:
        """The same where a hundred characters are the most."""
        return f"'\"><img src={self.url}/s onerror=top.name='{MARK}'><svg onload=alert(1)>"

    @property
    def html(self) -> str:
        """For the body of a message."""
        return "\n".join([*self._acting(), *self._loading(), *self._confusing()])

    def _acting(self) -> Sequence[str]:
        url, script = self.url, self.script
        encoded = base64.b64encode(f"<script>{script}</script>".encode()).decode()
        return [
            f"<script>{script}</script><script src='{url}/a.js'></script>",
            f'<p onclick="{script}" onmouseover="{script}">text</p>',
            f'<img src=x onerror="{script}"><body onload="{script}"><svg onload="{script}"/>',
            f'<details open ontoggle="{script}"><summary>x</summary></details>',
            f'<input autofocus onfocus="{script}"><video autoplay onloadstart="{script}"><source>',
            f"<a href=\"javascript:{script}\">a</a><a href=' java\tscript:{script}'>b</a>",
            f"<a href='data:text/html;base64,{encoded}'>c</a><a href='vbscript:x'>d</a>",
            f'<form action="{url}/form"><input name=password><button>Log in</button></form>',
            f'<button formaction="{url}/formaction">x</button><isindex action="{url}/isindex">',
            f'<meta http-equiv="refresh" content="0;url={url}/refresh">',
            f'<meta http-equiv="Set-Cookie" content="mailrelay=x"><base href="{url}/base/">',
            f'<svg><a xlink:href="javascript:{script}"><text y=20>x</text></a>'
            f'<animate attributeName=href values="javascript:{script}"/>'
            f"<foreignObject><script>{script}</script></foreignObject>"
            f'<use href="{url}/use"/></svg>',
            f'<math href="javascript:{script}">x</math><marquee onstart="{script}">x</marquee>',
        ]

    def _loading(self) -> Sequence[str]:
        url, script = self.url, self.script
        links = (
            *("stylesheet", "prefetch", "preload", "dns-prefetch", "preconnect", "icon"),
            *("modulepreload", "manifest", "prerender", "import", "next"),
        )
        return [
            *(f'<link rel="{rel}" as="script" href="{url}/{rel}">' for rel in links),
            f'<img src="{url}/img" srcset="{url}/srcset 2x" lowsrc="{url}/lowsrc">',
            f'<picture><source srcset="{url}/source"><img src="{url}/img2"></picture>',
            f'<table background="{url}/background"><tr><td background="{url}/td">x</table>',
            f'<body background="{url}/body"><input type="image" src="{url}/input">',
            f'<iframe src="{url}/iframe"></iframe><iframe srcdoc="<script>{script}</script>">'
            f'</iframe><frameset><frame src="{url}/frame"></frameset>',
            f'<object data="{url}/object"></object><embed src="{url}/embed">',
            f'<video poster="{url}/poster" src="{url}/video"></video><audio src="{url}/audio">',
            f"<p style=\"background:url({url}/style);list-style-image:url('{url}/list')\">x</p>",
            f'<p style="background:\\75\\72\\6c({url}/escaped);behavior:url({url}/htc)">x</p>',
            f'<p style="background:u/**/rl({url}/comment)">x</p>',
            f"<p style=\"content:image-set('{url}/set' 1x)\">x</p>",
            f"<style>@import '{url}/import'; @import url({url}/import2); @\\69mport '{url}/i3';"
            f" @font-face {{font-family: x; src: url({url}/font)}} p {{font-family: x}}"
            f" body {{background: URL( '{url}/css' )}} p::before {{content: url({url}/content)}}"
            f" p {{cursor: url({url}/cursor), auto; -moz-binding: url({url}/xbl)}}</style>",
            f'<svg><image href="{url}/image"/><feImage href="{url}/fe"/></svg>',
            f'<a href="{url}/link" ping="{url}/ping">a link</a><img src="//127.0.0.1:1/x">',
            '<img src="cid:drawing"><img src="cid:page"><img src="cid:none">',
        ]

    def _confusing(self) -> Sequence[str]:
        script = self.script
        image = f"<img src=x onerror={script}>"
        return [
            f'<noscript><p title="</noscript>{image}">x</noscript>',
            f'<math><mtext><table><mglyph><style><!--</style><img title="--&gt;{image}">',
            f"<form><math><mtext></form><form><mglyph><style></math>{image}",
            f'<svg></p><style><a id="</style>{image}"></svg>',
            f"<!--><script>{script}</script>--><!-- --!>{image}-->",
            f"<![CDATA[><script>{script}</script>]]><xmp>{image}</xmp><plaintext>{image}",
        ]

    def messages(self, to: str) -> Sequence[bytes]:
        """Raw ones; each has a place of its own for what it tries."""
        head = (
            f'From: "{self.short}" <"<script>alert(1)</script>"@evil.example>\r\n'
            f"To: {to}\r\nReply-To: {self.short} <a@evil.example>\r\n"
            f"Date: Mon, 16 Nov 2026 10:00:00 +0000 {self.short}\r\n"
            f"Message-ID: <{self.short}@evil.example>\r\n"
            f"X-<img/src=x/onerror=top.name='{MARK}'>: {self.short}\r\nMIME-Version: 1.0\r\n"
        )
        word = base64.b64encode(self.line.encode()).decode()
        encoded = f"Subject: =?utf-8?B?{word}?= \r\n"
        html = f"Content-Type: text/html; charset=utf-8\r\n\r\n{self.html}\r\n"
        drawing = f'<svg xmlns="http://www.w3.org/2000/svg" onload="{self.script}"></svg>'
        seven = "+ADw-script+AD4-top.name+AD0-+ACc-owned+ACc-+ADw-/script+AD4-"

        def part(fields: str, body: str) -> str:
            return f"--b\r\n{fields}\r\n\r\n{body}\r\n"

        file = "Content-Disposition"
        parts = "".join(
            [
                part("Content-Type: text/plain", self.line),
                part("Content-Type: text/html", self.html),
                part("Content-Type: image/svg+xml\r\nContent-ID: <drawing>", drawing),
                part(f"Content-Type: text/html\r\nContent-ID: <page>\r\n{file}: inline", self.html),
                part(
                    f'Content-Type: text/html\r\n{file}: attachment; filename="x.html"', self.html
                ),
                part(
                    f'Content-Type: image/svg+xml; name="{self.short[2:]}"\r\n'
                    f"{file}: inline; filename*=utf-8''%3Cscript%3Ealert(1)%3C%2Fscript%3E.svg",
                    drawing,
                ),
                part(
                    f'Content-Type: text/html<script>alert(1)</script>; charset="{self.short[2:]}"'
                    f'\r\nContent-Transfer-Encoding: <script>\r\n{file}: inline; filename="a\\"\r\n'
                    ' b.html"',
                    self.html,
                ),
                part("Content-Type: message/rfc822", f"{head}{encoded}{html}"),
            ]
        )
        mixed = 'Content-Type: multipart/mixed; boundary="b"\r\n\r\n'
        return [
            one.replace("\r\n", "\n").replace("\n", "\r\n").encode()
            for one in (
                f"{head}{encoded}{html}",
                f"{head}{encoded}{mixed}{parts}--b--\r\n",
                f"{head}Subject: 7\r\nContent-Type: text/html; charset=utf-7\r\n\r\n{seven}\r\n",
                f"{head}Subject: plain {self.line}\r\n\r\n{self.line}\r\n{self.html}\r\n",
            )
        ]

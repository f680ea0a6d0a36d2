"""A local HTTP server that fails in the ways servers do, and the answers to give it."""

import gzip
import os
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CONTENT = gzip.compress(os.urandom(200_000))
Respond = Callable[[BaseHTTPRequestHandler], None]


class Server(ThreadingHTTPServer):
    """Answers the n-th request with the n-th of ``answers``, the last one ever after; remembers what was asked."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[Respond] = []
        self.requests: list[tuple[str, str | None]] = []  # path and Range header
        self.url = f"http://127.0.0.1:{self.server_port}/file.gz"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        number = len(self.server.requests)
        self.server.requests.append((self.path, self.headers.get("Range")))
        self.close_connection = True
        self.server.answers[min(number, len(self.server.answers) - 1)](self)

    def log_message(self, *_):
        pass


def whole(handler, content=CONTENT, send=None):
    """All of the content, whatever the Range; ``send`` cuts it off after so many bytes."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content[:send])


def ranged(handler, content=CONTENT, send=None):
    """As a server that can resume: 206 from where the Range begins, 416 when that is the end."""
    if (asked := handler.headers.get("Range")) is None:
        return whole(handler, content, send)
    start = int(asked.removeprefix("bytes=").removesuffix("-"))
    if start >= len(content):
        return status(416)(handler)
    handler.send_response(206)
    handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
    handler.send_header("Content-Length", str(len(content) - start))
    handler.end_headers()
    handler.wfile.write(content[start:][:send])


def status(code):
    def respond(handler):
        handler.send_response(code)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return respond


def cut(after):
    return lambda handler: ranged(handler, send=after)

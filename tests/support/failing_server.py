"""A local HTTP server that fails in the ways servers do, and the answers to give it."""

import gzip
import hashlib
import random
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from ekd_nmt.config.manifest import DataFile

CONTENT = gzip.compress(random.Random(1).randbytes(200_000), mtime=0)
Respond = Callable[[BaseHTTPRequestHandler], None]


def entry(url: str, content: bytes = CONTENT, **changes) -> DataFile:
    """The manifest's entry of ``content`` as file.gz."""
    described = {"name": "file.gz", "url": url, "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    return DataFile(**(described | changes))


class Server(ThreadingHTTPServer):
    """Answers the n-th request with the n-th of ``answers``, later ones with the last; records the requests."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[Respond] = []
        self.requests: list[tuple[str, str | None]] = []  # path and Range header
        self.url = f"http://127.0.0.1:{self.server_port}/file.gz"

    def handle_error(self, request, client_address):
        if not isinstance(sys.exception(), ConnectionError):  # the client may disconnect
            super().handle_error(request, client_address)


@contextmanager
def serving() -> Iterator[Server]:
    """A server that runs until the end of the block."""
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        number = len(self.server.requests)
        self.server.requests.append((self.path, self.headers.get("Range")))
        self.close_connection = True
        self.server.answers[min(number, len(self.server.answers) - 1)](self)

    def log_message(self, *_):
        pass


def whole(handler, content=CONTENT, send=None, **headers):
    """All of the content, whatever the Range; ``send`` cuts it off after that many bytes."""
    handler.send_response(200)
    for name, value in {"Content-Length": str(len(content)), **headers}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(content[:send])


def ranged(handler, content=CONTENT, send=None, **headers):
    """As a server that can resume: 206 from where the Range begins, 416 when that is the end."""
    if (asked := handler.headers.get("Range")) is None:
        return whole(handler, content, send, **headers)
    start = int(asked.removeprefix("bytes=").removesuffix("-"))
    if start >= len(content):
        return status(416)(handler)
    handler.send_response(206)
    handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
    for name, value in {"Content-Length": str(len(content) - start), **headers}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(content[start:][:send])


def versioned(content=CONTENT, send=None, **validators):
    """As a server that resumes only the version that If-Range names; ``validators`` are the headers of this one."""

    def respond(handler):
        same = handler.headers.get("If-Range") in (None, *validators.values())
        (ranged if same else whole)(handler, content, send, **validators)

    return respond


def unannounced(handler, content=CONTENT):
    """All of the content without its length: it ends when the connection does."""
    handler.send_response(200)
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.wfile.write(content)


def status(code, **headers):
    def respond(handler):
        handler.send_response(code)
        for name, value in {"Content-Length": "0", **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()

    return respond


def cut(after):
    return lambda handler: ranged(handler, send=after)


def reset(after):
    """That many bytes, then the connection is reset instead of closed."""

    def respond(handler):
        ranged(handler, send=after)
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.rfile.close()  # it shares the socket, which closes with the last that uses it
        handler.connection.close()

    return respond


def stalled(after):
    """That many bytes, then nothing more until the client disconnects."""

    def respond(handler):
        ranged(handler, send=after)
        handler.connection.settimeout(20)
        handler.connection.recv(1)

    return respond

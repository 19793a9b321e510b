"""An HTTP server for tests whose clients break connections off on purpose."""

from __future__ import annotations

import sys
from http.server import ThreadingHTTPServer


class TestServer(ThreadingHTTPServer):
    """Prints no traceback where a client has gone; all other errors are printed as usual."""

    __test__ = False
    daemon_threads = True

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

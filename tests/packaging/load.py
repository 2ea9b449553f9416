# SPDX-License-Identifier: Apache-2.0
"""What a package test needs beside the package: `load.py origin` serves, `load.py load STOP` asks until the file STOP exists and fails if an
answer was wrong or missing (it says "begun" once there is one), `load.py slow SECONDS` fetches one answer that takes so long."""

import http.client
import http.server
import os
import sys
import threading
import time

ORIGIN, PROXY = 18099, 18098


class Page(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        seconds = float(self.path.removeprefix("/slow/")) if self.path.startswith("/slow/") else 0
        time.sleep(seconds / 2)
        self.send_response(200)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"pa")
        time.sleep(seconds / 2)
        self.wfile.write(b"ge")

    def log_message(self, *_):
        pass


def load(stop):
    failures, done, begun = [], [0], threading.Event()

    def ask(kept):
        connection = None
        while not os.path.exists(stop):
            try:
                connection = connection or http.client.HTTPConnection("127.0.0.1", PROXY, timeout=20)
                fresh = connection.sock is None
                connection.request("GET", "/")
                answer = connection.getresponse()
                assert answer.status == 200 and answer.read() == b"page", answer.status
                done[0] += 1
                if not begun.is_set():
                    begun.set()
                    print("begun", flush=True)
                if not kept or answer.will_close:
                    connection.close()
                    connection = None
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError) as error:
                if fresh:  # an idle connection may be closed between two requests
                    failures.append(repr(error))
                connection.close()
                connection = None
            except (OSError, AssertionError, http.client.HTTPException) as error:
                failures.append(repr(error))
                connection = None
    threads = [threading.Thread(target=ask, args=(number % 2 == 0,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(done[0], "answered,", len(failures), "failed", failures[:3])
    return bool(failures) or not done[0]


def slow(seconds):
    connection = http.client.HTTPConnection("127.0.0.1", PROXY, timeout=60)
    connection.request("GET", f"/slow/{seconds}")
    answer = connection.getresponse()
    return answer.status != 200 or answer.read() != b"page"


if sys.argv[1] == "origin":
    http.server.ThreadingHTTPServer(("127.0.0.1", ORIGIN), Page).serve_forever()
sys.exit(load(sys.argv[2]) if sys.argv[1] == "load" else slow(sys.argv[2]))

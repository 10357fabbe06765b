"""A web hook: prints what it is sent as a line of JSON. `hook.py PORT STATUS...`: answers with these first, then 204."""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

port, *statuses = map(int, sys.argv[1:])


class Hook(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        status = statuses.pop(0) if statuses else 204
        line = {"status": status, "key": self.headers["Idempotency-Key"], "body": json.loads(body)}
        print(json.dumps(line), flush=True)
        self.send_response(status)
        if status == 429:
            self.send_header("Retry-After", "1")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", port), Hook).serve_forever()

"""A web hook for trying: prints what it is sent, and answers 204. `python3 hook.py`."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hook(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        print(self.headers["Idempotency-Key"], body.decode())
        self.send_response(204)
        self.end_headers()


ThreadingHTTPServer(("127.0.0.1", 8080), Hook).serve_forever()

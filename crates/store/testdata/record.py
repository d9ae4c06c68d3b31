"""Stands between a client and a Chroma server and writes down what they say, one exchange a line.

    python3 record.py UPSTREAM_PORT LISTEN_PORT recording.jsonl
"""

import http.client
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

upstream_port, listen_port, path = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]


class Recorder(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def forward(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        upstream = http.client.HTTPConnection("127.0.0.1", upstream_port)
        headers = {"content-type": "application/json"} if body else {}
        upstream.request(self.command, self.path, body, headers)
        answer = upstream.getresponse()
        content = answer.read()
        with open(path, "a", encoding="utf-8") as recording:
            exchange = {
                "method": self.command,
                "path": self.path,
                "body": body.decode(),
                "status": answer.status,
                "answer": content.decode(),
            }
            recording.write(json.dumps(exchange, ensure_ascii=False) + "\n")
        self.send_response(answer.status)
        self.send_header("content-type", answer.getheader("content-type", "application/json"))
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = forward

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", listen_port), Recorder).serve_forever()

#!/usr/bin/env python3
"""An empty Kubernetes API for an istiod that reads its configuration from files.

From 1.30 on istiod stops with a nil pointer when it has no Kubernetes client
(its ServiceEntry controller asks the multicluster controller for the namespaces).
This stub gives it a client and nothing to find: every list is empty, every watch
stays silent, what istiod writes (its CA secret, leader locks) is kept in memory.
Tokens are whose they say that they are: see `reviewed`.
Standard library only, plain HTTP on 127.0.0.1, a port chosen by the kernel.

usage: kube_stub.py KUBECONFIG_TO_WRITE COMMAND [ARGUMENT...]
It writes the kubeconfig, runs the command as its child and ends with it.
SIGTERM ends both; on Linux the child also ends when the stub is killed.
"""

import ctypes
import json
import signal
import subprocess
import sys
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KINDS = {
    "configmaps": "ConfigMap",
    "customresourcedefinitions": "CustomResourceDefinition",
    "endpointslices": "EndpointSlice",
    "ingressclasses": "IngressClass",
    "ingresses": "Ingress",
    "leases": "Lease",
    "mutatingwebhookconfigurations": "MutatingWebhookConfiguration",
    "namespaces": "Namespace",
    "nodes": "Node",
    "pods": "Pod",
    "secrets": "Secret",
    "serviceaccounts": "ServiceAccount",
    "services": "Service",
    "validatingwebhookconfigurations": "ValidatingWebhookConfiguration",
}


class Store:
    """Objects by path, with one counter for resourceVersion."""

    def __init__(self):
        self.lock = threading.Lock()
        self.objects = {}
        self.version = 1

    def get(self, path):
        with self.lock:
            return self.objects.get(path)

    def put(self, path, value):
        with self.lock:
            self.version += 1
            meta = value.setdefault("metadata", {})
            meta["resourceVersion"] = str(self.version)
            meta.setdefault("uid", f"stub-{self.version}")
            self.objects[path] = value
            return value

    def delete(self, path):
        with self.lock:
            return self.objects.pop(path, None)


def split(path):
    """'/api/v1/namespaces/x/secrets/y' -> (group version, plural, namespace, name)."""
    parts = [p for p in path.split("/") if p]
    version_parts = 2 if parts[:1] == ["api"] else 3
    group_version = "/".join(parts[1:version_parts])
    rest = parts[version_parts:]
    namespace = ""
    if rest[:1] == ["namespaces"] and len(rest) > 2:
        namespace, rest = rest[1], rest[2:]
    plural = rest[0] if rest else ""
    return group_version, plural, namespace, rest[1] if len(rest) > 1 else ""


def reviewed(token):
    """The token `token-of:NAMESPACE:ACCOUNT` is that service account's, any other is nobody's."""
    kind, _, account = token.partition(":")
    if kind != "token-of" or account.count(":") != 1:
        return {"authenticated": False, "error": "the token is nobody's"}
    groups = ["system:serviceaccounts", "system:authenticated"]
    return {"authenticated": True, "user": {"username": f"system:serviceaccount:{account}", "groups": groups}}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    store = Store()

    def reply(self, code, value):
        data = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def status(self, code, reason):
        failed = {"kind": "Status", "apiVersion": "v1", "status": "Failure"}
        self.reply(code, failed | {"code": code, "reason": reason, "message": f"{reason}: {self.path}"})

    def body(self):
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return json.loads(data) if data else {}

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        if url.path == "/version":
            self.reply(200, {"major": "1", "minor": "33", "gitVersion": "v1.33.0"})
            return
        group_version, plural, _, name = split(url.path)
        if not plural:
            self.discovery(url.path)
        elif query.get("watch") in ("1", "true"):
            # A client that wants the list as part of the watch is told to list first.
            if query.get("sendInitialEvents") == "true":
                self.status(422, "Invalid")
            else:
                self.silent_watch(float(query.get("timeoutSeconds") or 300))
        elif name:
            found = self.store.get(url.path)
            self.reply(200, found) if found else self.status(404, "NotFound")
        else:
            self.empty_list(group_version, plural)

    def discovery(self, path):
        if path.rstrip("/") == "/apis":
            self.reply(200, {"kind": "APIGroupList", "apiVersion": "v1", "groups": []})
        elif path.rstrip("/") == "/api":
            self.reply(200, {"kind": "APIVersions", "versions": ["v1"]})
        else:
            self.status(404, "NotFound")

    def empty_list(self, group_version, plural):
        kind = KINDS.get(plural, plural[:1].upper() + plural[1:].removesuffix("s"))
        answer = {"kind": f"{kind}List", "apiVersion": group_version}
        if "PartialObjectMetadataList" in self.headers.get("Accept", ""):
            answer = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1"}
        self.reply(200, answer | {"metadata": {"resourceVersion": "1"}, "items": []})

    def silent_watch(self, seconds):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        time.sleep(min(seconds, 3600))
        self.wfile.write(b"0\r\n\r\n")

    def do_POST(self):
        value = self.body()
        path = urllib.parse.urlsplit(self.path).path
        name = value.get("metadata", {}).get("name")
        if path.endswith("/tokenreviews"):
            self.reply(201, value | {"status": reviewed(value.get("spec", {}).get("token", ""))})
        elif not name:
            self.reply(201, value)
        elif self.store.get(f"{path}/{name}"):
            self.status(409, "AlreadyExists")
        else:
            self.reply(201, self.store.put(f"{path}/{name}", value))

    def do_PUT(self):
        self.reply(200, self.store.put(urllib.parse.urlsplit(self.path).path, self.body()))

    def do_PATCH(self):
        self.body()
        found = self.store.get(urllib.parse.urlsplit(self.path).path)
        self.reply(200, found) if found else self.status(404, "NotFound")

    def do_DELETE(self):
        self.body()
        found = self.store.delete(urllib.parse.urlsplit(self.path).path)
        self.reply(200, found) if found else self.status(404, "NotFound")

    def log_message(self, form, *args):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        # A client that goes away in the middle of a watch is the normal end of a watch.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def write_kubeconfig(path, port):
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "stub", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "stub", "user": {}}],
        "contexts": [{"name": "stub", "context": {"cluster": "stub", "user": "stub"}}],
        "current-context": "stub",
    }
    with open(path, "w", encoding="utf-8") as out:
        json.dump(config, out)


def end_with_parent():
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def main():
    if len(sys.argv) < 3:
        sys.exit("usage: kube_stub.py KUBECONFIG_TO_WRITE COMMAND [ARGUMENT...]")
    server = Server(("127.0.0.1", 0), Handler)
    write_kubeconfig(sys.argv[1], server.server_port)
    # The child starts before any thread does: preexec_fn is not safe beside threads.
    # Its first requests wait in the listener's queue.
    child = subprocess.Popen(sys.argv[2:], preexec_fn=end_with_parent)
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    signal.signal(signal.SIGINT, lambda *_: child.terminate())
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.exit(child.wait())


if __name__ == "__main__":
    main()

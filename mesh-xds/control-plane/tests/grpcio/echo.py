"""A gRPC server that answers with its name, and a client that counts the answers. No generated code: bytes go as they are.

server NAME             prints its port, and serves until it is ended
xds-server NAME PORT    the same at a port of 127.0.0.1, as its listener in the mesh says; a status that changes goes to stderr
client                  per line `TARGET CALLS [METHOD]` of its input: prints how often each answer came, as JSON; an error counts as
                        its code, and the third one ends the batch
xds-client              the same with the certificates that the mesh asks for
"""

import collections
import json
import sys
from concurrent import futures

import grpc
from grpc import experimental

SERVICE = "mesh.test.Echo"
METHODS = ["Say", "Shout"]
SECONDS = 15


def handlers(name):
    answer = grpc.unary_unary_rpc_method_handler(lambda request, context: name.encode())
    return [grpc.method_handlers_generic_handler(SERVICE, dict.fromkeys(METHODS, answer))]


def server(name):
    running = grpc.server(futures.ThreadPoolExecutor(max_workers=2), handlers=handlers(name))
    port = running.add_insecure_port("127.0.0.1:0")
    serve(running, port)


def xds_server(name, port):
    threads = futures.ThreadPoolExecutor(max_workers=2)
    running = grpc.server(threads, handlers=handlers(name), xds=True)
    credentials = grpc.xds_server_credentials(grpc.insecure_server_credentials())
    serve(running, running.add_secure_port(f"127.0.0.1:{port}", credentials))


def serve(running, port):
    running.start()
    print(port, flush=True)
    sys.stdin.read()


def client(channel):
    channels, calls = {}, {}
    for line in sys.stdin:
        target, count, *method = line.split()
        path = f"/{SERVICE}/{method[0] if method else METHODS[0]}"
        if target not in channels:
            channels[target] = channel(target)
        if (target, path) not in calls:
            calls[target, path] = channels[target].unary_unary(path)
        answers = batch(calls[target, path], int(count))
        print(json.dumps(answers), flush=True)


def secured(target):
    fallback = experimental.insecure_channel_credentials()
    return grpc.secure_channel(target, grpc.xds_channel_credentials(fallback))


def batch(call, count):
    answers, errors = collections.Counter(), 0
    for _ in range(count):
        try:
            answers[call(b"", timeout=SECONDS).decode()] += 1
        except grpc.RpcError as error:
            print(error, file=sys.stderr, flush=True)
            answers[error.code().name] += 1
            errors += 1
            # Each may take all its seconds.
            if errors == 3:
                break
    return answers


match sys.argv[1:]:
    case ["server", name]:
        server(name)
    case ["xds-server", name, port]:
        xds_server(name, port)
    case ["client"]:
        client(grpc.insecure_channel)
    case ["xds-client"]:
        client(secured)

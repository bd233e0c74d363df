"""A gRPC server that answers with its name, and a client that counts the answers. No generated code: bytes go as they are.

server NAME     prints its port, and serves until it is ended
client          per line `TARGET CALLS` of its input: prints how often each answer came, as JSON; an error counts as its code, and
                the third one ends the batch
"""

import collections
import json
import sys
from concurrent import futures

import grpc

SERVICE, METHOD = "mesh.test.Echo", "Say"
SECONDS = 15


def server(name):
    answer = grpc.unary_unary_rpc_method_handler(lambda request, context: name.encode())
    handler = grpc.method_handlers_generic_handler(SERVICE, {METHOD: answer})
    running = grpc.server(futures.ThreadPoolExecutor(max_workers=2), handlers=[handler])
    port = running.add_insecure_port("127.0.0.1:0")
    running.start()
    print(port, flush=True)
    sys.stdin.read()


def client():
    calls = {}
    for line in sys.stdin:
        target, count = line.split()
        if target not in calls:
            calls[target] = grpc.insecure_channel(target).unary_unary(f"/{SERVICE}/{METHOD}")
        answers = batch(calls[target], int(count))
        print(json.dumps(answers), flush=True)


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


if sys.argv[1] == "server":
    server(sys.argv[2])
else:
    client()

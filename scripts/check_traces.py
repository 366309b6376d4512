"""A collector that keeps the spans of one run of the demo: see check-traces.sh."""

import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.request
from concurrent import futures

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as messages
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as service

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PATIENCE_SECONDS = 60


class Collector(service.TraceServiceServicer):
    def __init__(self):
        self.spans = []
        self.arrived = threading.Event()

    def Export(self, request, context):
        for resource in request.resource_spans:
            name = {a.key: a.value.string_value for a in resource.resource.attributes}["service.name"]
            for scope in resource.scope_spans:
                self.spans += [(name, span) for span in scope.spans]
        self.arrived.set()
        return messages.ExportTraceServiceResponse()


collector = Collector()
server = grpc.server(futures.ThreadPoolExecutor(2))
service.add_TraceServiceServicer_to_server(collector, server)
port = server.add_insecure_port("127.0.0.1:0")
server.start()

environment = dict(os.environ, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}", OTEL_BSP_SCHEDULE_DELAY="200")
demo = subprocess.Popen([sys.argv[1], "--port", "0"], env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
try:
    address = next(found[1] for line in demo.stderr if (found := re.match(r"Open http://([0-9.:]+)", line)))
    threading.Thread(target=demo.stderr.read, daemon=True).start()
    for broker in ("kafka", "pubsub"):
        url = f"http://{address}/{broker}/push-to-consumer?start_idx=0&end_idx=5"
        headers = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
        urllib.request.urlopen(urllib.request.Request(url, headers=headers)).read()
        urllib.request.urlopen(url).read()  # in no trace
    until = time.monotonic() + PATIENCE_SECONDS
    while len(collector.spans) < 2 and time.monotonic() < until:
        collector.arrived.wait(1)
        collector.arrived.clear()
    results = json.load(urllib.request.urlopen(f"http://{address}/results"))["results"]
finally:
    demo.terminate()
    demo.wait()

systems = set()
assert len(collector.spans) == 2, f"expected 2 spans, found {len(collector.spans)}"
for name, span in collector.spans:
    attributes = {a.key: a.value.string_value or a.value.int_value for a in span.attributes}
    print(name, span.name, attributes)
    assert name == "fmnist-stream"
    assert span.trace_id.hex() == TRACE and span.parent_span_id.hex() == PARENT
    assert span.start_time_unix_nano < span.end_time_unix_nano
    assert attributes["fmnist.images"] == 5
    assert attributes["messaging.message.id"] in {result["id"] for result in results}
    systems.add(attributes["messaging.system"])
assert systems == {"kafka", "gcp_pubsub"}, systems
print("2 spans, each of a message in a trace")

"""The image's health check: asks the server of this container for grpc.health.v1, and exits 0 when it is serving.

(address from settings: to be filled)
"""

import os, sys
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

address = os.environ.get("FEATURESTORE_LISTEN", "127.0.0.1:7400").replace("0.0.0.0", "127.0.0.1")
try:
    with grpc.insecure_channel(address) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=3)
except grpc.RpcError as error:
    print(f"{address}: {error.code().name} {error.details()}", file=sys.stderr)
    sys.exit(1)
sys.exit(answer.status != 1)

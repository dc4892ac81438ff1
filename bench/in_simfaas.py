"""The workload of `cargo xtask simfaas` in SimFaaS: Poisson arrivals, exponential run times, never full."""

import json
import sys
import time

from simfaas.ServerlessSimulator import ServerlessSimulator

rate, mean_s, length_s = (float(argument) for argument in sys.argv[1:4])
simulator = ServerlessSimulator(
    arrival_rate=rate,
    warm_service_rate=1 / mean_s,
    cold_service_rate=1 / mean_s,
    expiration_threshold=600,
    max_time=length_s,
)
begun = time.perf_counter()
simulator.generate_trace()
seconds = time.perf_counter() - begun
simulator.calculate_time_lengths()
result = simulator.get_result_dict()
print(json.dumps({
    "invocations": result["reqs_total"],
    "running": result["inst_running_count_avg"],
    "seconds": seconds,
}))

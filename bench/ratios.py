"""ratios.py FILE: medians and spread per broker and workload of bench/compare's results, and chronik's ratio to each other broker.

The ratio is of the medians; its spread is of the ratios round by round, which the brokers ran one after the other.
"""
import json
import statistics
import sys
from collections import defaultdict

FIGURES = {"sync64": ["rec_s", "p50_ms"], "sync1": ["p50_ms"], "batch10": ["mb_s"], "batch100": ["mb_s"], "paced": ["p99_ms"], "fetch": ["mb_s"]}
WARM = 3  # seconds that kload leaves out of its own figures

runs = defaultdict(lambda: defaultdict(dict))
with open(sys.argv[1]) as f:
    for line in f:
        run = json.loads(line)
        result = run["result"]
        if result.get("errs"):
            print(f"{run['broker']} {run['workload']} round {run['round']}: {result['errs']} errors")
        for figure in FIGURES[run["workload"]]:
            if figure in result:
                runs[run["workload"], figure][run["broker"]][run["round"]] = result[figure]
        if run["workload"] in ("batch10", "batch100"):
            produced = result["mb_s"] * 1e6 * (run["secs"] + WARM)
            cpu, written = run["used"]
            runs[run["workload"], "cpu_s/GB"][run["broker"]][run["round"]] = cpu / (produced / 1e9)
            runs[run["workload"], "written"][run["broker"]][run["round"]] = written / produced
print("\nmedians [least to most], and chronik's figure divided by the other's (rec/s, MB/s: more is better; ms, CPU s per GB, bytes written per byte: less is better)")
for (workload, figure), brokers in runs.items():
    own = brokers.get("chronik")
    for broker, rounds in brokers.items():
        values = list(rounds.values())
        ratio = ""
        median = statistics.median(values)
        if own and broker != "chronik" and median:
            each = [own[r] / v for r, v in rounds.items() if r in own and v]
            ratio = f"chronik is {statistics.median(own.values()) / median:.2f}x [{min(each):.2f} to {max(each):.2f}]"
        print(f"{workload:9} {figure:8} {broker:12} {median:10,.2f} [{min(values):,.2f} to {max(values):,.2f}] of {len(values)} runs {ratio}")

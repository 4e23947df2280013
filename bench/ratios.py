"""ratios.py FILE: medians per broker and workload of bench/compare's results, and chronik's ratio to each other broker."""
import json
import statistics
import sys
from collections import defaultdict

FIGURES = {"sync64": ["rec_s", "p50_ms"], "sync1": ["p50_ms"], "batch10": ["mb_s"], "batch100": ["mb_s"], "paced": ["p99_ms"], "fetch": ["mb_s"]}

runs = defaultdict(lambda: defaultdict(list))
with open(sys.argv[1]) as f:
    for line in f:
        run = json.loads(line)
        if run["result"].get("errs"):
            print(f"{run['broker']} {run['workload']} round {run['round']}: {run['result']['errs']} errors")
        for figure in FIGURES[run["workload"]]:
            if figure in run["result"]:
                runs[run["workload"], figure][run["broker"]].append(run["result"][figure])
print("\nmedians, and chronik's figure divided by the other's (rec/s, MB/s: more is better; ms: less is better)")
for (workload, figure), brokers in runs.items():
    own = brokers.get("chronik")
    for broker, values in brokers.items():
        ratio = ""
        if own and broker != "chronik":
            ratio = f"chronik is {statistics.median(own) / statistics.median(values):.2f}x"
        print(f"{workload:9} {figure:7} {broker:12} median {statistics.median(values):12,.2f}  of {len(values)} runs {ratio}")

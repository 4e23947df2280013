"""kafka-python: creates a topic, produces N records and consumes them in a group while the broker restarts."""
import sys
import threading
import time

from kafka import KafkaConsumer, KafkaProducer
from kafka.admin import KafkaAdminClient, NewTopic
from kafka.errors import KafkaConnectionError

bootstrap, topic, n, half = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
admin = KafkaAdminClient(bootstrap_servers=bootstrap)
admin.create_topics([NewTopic(topic, num_partitions=3, replication_factor=1)])
admin.close()


def produce():
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", retries=1000, linger_ms=0, retry_backoff_ms=50)
    futures = []
    for i in range(1, n + 1):
        futures.append(producer.send(topic, f"record-{i}".encode()))
        if i == n // 2:
            open(half, "w").close()
        time.sleep(0.01)
    for f in futures:
        f.get(timeout=60)
    producer.close()


failed = []


def run():
    try:
        produce()
    except Exception as e:  # the main thread reports it
        failed.append(e)


thread = threading.Thread(target=run)
thread.start()
consumer = KafkaConsumer(topic, bootstrap_servers=bootstrap, group_id="python-group", auto_offset_reset="earliest",
                         auto_commit_interval_ms=200, session_timeout_ms=10000, heartbeat_interval_ms=500)
seen = set()
deadline = time.time() + 90
while len(seen) < n and time.time() < deadline and not failed:
    try:
        polled = consumer.poll(timeout_ms=200)
    except KafkaConnectionError:  # kafka-python 3 lets a refused refresh of its metadata out of poll; it says that it can be retried
        continue
    for records in polled.values():
        for r in records:
            seen.add(r.value)
            print(r.value.decode(), flush=True)
thread.join()
consumer.close()
if failed:
    raise failed[0]

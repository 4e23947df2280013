#!/usr/bin/env bash
# Java's console tools, kafka-verifiable-producer and -consumer, the performance tools and the pairs programme against the broker at $1.
# Prints PASS or FAIL and a name.
set -u
b=$1 t=java-$RANDOM$RANDOM g=java-group-$RANDOM$RANDOM here=$(cd "$(dirname "$0")" && pwd)
export KAFKA_ANCHOR_JAVA_OPTS='-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto'
tool() { timeout 100 "$ANCHORS/kafka" tool "$@" 2>&1; }
check() { # check NAME COMMAND...
  local name=$1 out; shift
  if out=$("$@" 2>&1); then echo "PASS $name"; else echo "FAIL $name: $(echo "$out" | tail -1 | head -c 300)"; fi
}
same() { [ "$1" = "$2" ] || { echo "got '$1', want '$2'"; return 1; }; }
has() { grep -qE "$2" <<<"$1" || { echo "no /$2/ in: $(tail -c 300 <<<"$1")"; return 1; }; }

create() { has "$(tool topics --bootstrap-server "$b" --create --topic "$t" --partitions 3 --config segment.bytes=1048576)" "Created topic"; }
describe() { has "$(tool topics --bootstrap-server "$b" --describe --topic "$t")" "PartitionCount: 3.*ReplicationFactor: 1.*segment.bytes=1048576"; }
alter() { tool topics --bootstrap-server "$b" --alter --topic "$t" --partitions 4 && has "$(tool topics --bootstrap-server "$b" --describe --topic "$t")" "PartitionCount: 4"; }
configs() {
  tool configs --bootstrap-server "$b" --alter --entity-type topics --entity-name "$t" --add-config retention.ms=100000000 &&
    has "$(tool configs --bootstrap-server "$b" --describe --entity-type topics --entity-name "$t")" "retention.ms=100000000"
}
configs_broker() { has "$(tool configs --bootstrap-server "$b" --describe --all --entity-type brokers --entity-name 1)" "message.max.bytes=200000000"; }
api_versions() { has "$(tool api-versions --bootstrap-server "$b")" 'Fetch\(1\): 4 to 18 \[usable: 18\]'; }
cluster() { has "$(tool cluster cluster-id --bootstrap-server "$b")" "Cluster ID: .{22}"; }
features() { has "$(tool features --bootstrap-server "$b" describe)" "metadata.version.*FinalizedVersionLevel: 4.3"; }
log_dirs() { has "$(tool log-dirs --bootstrap-server "$b" --describe --topic-list "$t")" "\"partition\":\"$t-0\""; }
console() {
  seq 1 200 | tool console-producer --bootstrap-server "$b" --topic "$t" --command-property acks=all &&
    same "$(tool console-consumer --bootstrap-server "$b" --topic "$t" --group "$g" --from-beginning --max-messages 200 --timeout-ms 60000 | grep -E '^[0-9]+$' | sort -n | md5sum)" "$(seq 1 200 | md5sum)"
}
offsets() { same "$(tool offsets --bootstrap-server "$b" --topic "$t" --time "$1" | awk -F: '{n += $3} END {print n + 0}')" "$2"; }
groups_list() { has "$(tool groups --bootstrap-server "$b" --list)" "$g"; }
groups_describe() { has "$(tool groups --bootstrap-server "$b" --describe --group "$g")" "$t +[0-9] +[0-9]+ +[0-9]+ +0"; }
groups_reset() { has "$(tool groups --bootstrap-server "$b" --group "$g" --topic "$t" --reset-offsets --to-earliest --execute)" "$t +[0-9] +0"; }
groups_delete() { has "$(tool groups --bootstrap-server "$b" --delete --group "$g")" "successful"; }
groups_all() { has "$(tool groups-all --bootstrap-server "$b" --list)" "$g +Classic +consumer"; }
delete_records() {
  echo "{\"partitions\":[{\"topic\":\"$t\",\"partition\":0,\"offset\":-1}],\"version\":1}" >"$WORK/delete.json"
  has "$(tool delete-records --bootstrap-server "$b" --offset-json-file "$WORK/delete.json")" "low_watermark: [0-9]+"
}
verifiable_producer() { same "$(tool verifiable-producer --bootstrap-server "$b" --topic "$t-v" --max-messages 2000 --acks -1 | grep -c producer_send_success)" 2000; }
verifiable_consumer() {
  local out; out=$(tool verifiable-consumer --bootstrap-server "$b" --topic "$t-v" --group-id "$g-v" --max-messages 2000 --reset-policy earliest)
  has "$out" '"name":"partitions_assigned"' && has "$out" '"name":"offsets_committed".*"success":true' &&
    same "$(grep -o '"name":"records_consumed","count":[0-9]*' <<<"$out" | awk -F: '{n += $3} END {print n}')" 2000
}
producer_perf() { has "$(tool producer-perf --topic "$t-p" --num-records 50000 --record-size 1024 --throughput -1 --command-property bootstrap.servers="$b" acks=all compression.type="$1")" "^50000 records sent"; }
consumer_perf() { has "$(tool consumer-perf --bootstrap-server "$b" --topic "$t-p" --num-records 100000 --timeout 60000)" ", 1000(0[0-9]|[1-9][0-9])*[0-9]*, "; }
e2e() { has "$(tool e2e-latency --bootstrap-server "$b" --topic "$t-e" --num-records 100 --producer-acks all --record-size 128)" "Percentiles"; }
compat() {
  has "$(tool client-compat --bootstrap-server "$b" --topic "$t" --num-cluster-nodes 1 --offsets-for-times-supported true --cluster-id-supported true \
    --expect-record-too-large-exception false --create-topics-supported true --describe-acls-supported false --describe-configs-supported true \
    --idempotent-producer-supported true)" "SUCCESS"
}
transactions() { tool transactions --bootstrap-server "$b" list; }
quorum() { tool quorum --bootstrap-server "$b" describe --status; }
acls() { tool acls --bootstrap-server "$b" --list; }
pairs() { has "$(java -cp "$("$ANCHORS/kafka" install)/libs/*" "$here/../clients/Pairs.java" "$b" 2>&1)" "^[0-9]+ \(API key, version\) pairs answered and parsed to the last byte by kafka-clients, 0 failed"; }
delete() { tool topics --bootstrap-server "$b" --delete --topic "$t" && sleep 1 && ! grep -qx "$t" <<<"$(tool topics --bootstrap-server "$b" --list)"; }

check topics/create create
check topics/describe describe
check topics/alter alter
check configs/topic configs
check configs/broker configs_broker
check api-versions api_versions
check cluster cluster
check features features
check log-dirs log_dirs
check console console
check offsets/earliest offsets -2 0
check offsets/latest offsets -1 200
check groups/list groups_list
check groups/describe groups_describe
check groups/all groups_all
check groups/reset groups_reset
check groups/delete groups_delete
check delete-records delete_records
check verifiable-producer verifiable_producer
check verifiable-consumer verifiable_consumer
check producer-perf producer_perf none
check producer-perf/zstd producer_perf zstd
check consumer-perf consumer_perf
check e2e-latency e2e
check client-compat compat
check transactions/list transactions
check quorum quorum
check acls/list acls
check pairs pairs
check topics/delete delete

#!/usr/bin/env bash
# kcat of Debian (an old librdkafka) against the broker at $1: its modes, codecs, formats, offsets, groups. Prints PASS or FAIL and a name.
set -u
b=$1 t=kcat-$RANDOM$RANDOM g=kcat-group-$RANDOM$RANDOM
k=(timeout 40 kcat -b "$b" -X socket.timeout.ms=20000)
check() { # check NAME COMMAND...: PASS if the command succeeds
  local name=$1 out; shift
  if out=$("$@" 2>&1); then echo "PASS $name"; else echo "FAIL $name: $(echo "$out" | tail -1)"; fi
}
same() { [ "$1" = "$2" ] || { echo "got '$1', want '$2'"; return 1; }; }
has() { grep -qE "$2" <<<"$1" || { echo "no /$2/ in: $(head -c 300 <<<"$1")"; return 1; }; }
read_all() { "${k[@]}" -C -t "$1" -o beginning -e -q "${@:2}"; }

create() { has "$("${k[@]}" -L -t "$t")" "topic \"$t\"" && sleep 1 && has "$("${k[@]}" -L -t "$t")" "topic \"$t\" with [0-9]+ partitions"; }
list_all() { has "$("${k[@]}" -L)" "topic \"$t\""; }
list_json() { has "$("${k[@]}" -L -J -t "$t")" '"partitions":\[\{"partition":0,"leader":1,"replicas":\[\{"id":1\}\],"isrs":\[\{"id":1\}\]\}'; }
produce_lines() { seq 1 100 | "${k[@]}" -P -t "$t" -p 0 && same "$(read_all "$t" -p 0 | md5sum)" "$(seq 1 100 | md5sum)"; }
codec() { # codec NAME
  "${k[@]}" -L -t "$t-$1" >/dev/null; sleep 1
  seq 1 1000 | "${k[@]}" -P -t "$t-$1" -p 0 -z "$1" && same "$(read_all "$t-$1" -p 0 | md5sum)" "$(seq 1 1000 | md5sum)"
}
acks() { echo "acks $1" | "${k[@]}" -P -t "$t" -p 0 -X topic.acks="$1" && has "$(read_all "$t" -p 0)" "^acks $1\$"; }
idempotent() { seq 1 100 | sed 's/^/idempotent /' | "${k[@]}" -P -t "$t" -p 0 -X enable.idempotence=true && same "$(read_all "$t" -p 0 | grep -c ^idempotent)" 100; }
keys() { echo "key:value" | "${k[@]}" -P -t "$t" -p 0 -K: && has "$(read_all "$t" -p 0 -f '%k=%s\n')" '^key=value$'; }
headers() { echo "with headers" | "${k[@]}" -P -t "$t" -p 0 -H a=1 -H b=2 && has "$(read_all "$t" -p 0 -f '%h|%s\n')" '^a=1,b=2\|with headers$'; }
null_value() { printf 'gone:\n' | "${k[@]}" -P -t "$t" -p 0 -K: -Z && has "$(read_all "$t" -p 0 -J)" '"key":"gone","payload":null'; }
delimiter() { printf 'x;y;z' | "${k[@]}" -P -t "$t" -p 0 -D ';' && has "$(read_all "$t" -p 0 | tail -3 | tr '\n' ,)" '^x,y,z,$'; }
large() { head -c 900000 /dev/zero | tr '\0' x >"$WORK/large"; "${k[@]}" -P -t "$t" -p 0 "$WORK/large" && same "$("${k[@]}" -C -t "$t" -p 0 -o -1 -e -q | head -c 900000 | wc -c)" 900000; }
json() { has "$(read_all "$t" -p 0 -c 1 -J)" '"topic":"'"$t"'","partition":0,"offset":0,"tstype":"create","ts":[0-9]+,"broker":1,"key":null,"payload":"1"'; }
offset_absolute() { same "$("${k[@]}" -C -t "$t" -p 0 -o 41 -c 2 -q | tr '\n' ,)" 42,43,; }
offset_tail() { same "$("${k[@]}" -C -t "$t" -p 0 -o -1 -e -q | wc -c)" 900001; }
offset_end() { same "$("${k[@]}" -C -t "$t" -p 0 -o end -e -q)" ''; }
offset_stored() { has "$("${k[@]}" -C -t "$t" -p 0 -o 99999999 -e -q -X topic.auto.offset.reset=error 2>&1)" 'out of range|no message|Offset'; }
timestamp() { same "$("${k[@]}" -C -t "$t" -p 0 -o s@1000 -c 1 -q)" 1; }
window() { same "$("${k[@]}" -C -t "$t" -p 0 -o s@1000 -o e@2000 -q | wc -l)" 0; }
query_start() { has "$("${k[@]}" -Q -t "$t:0:1000")" "$t \[0\] offset 0\$"; }
query_future() { has "$("${k[@]}" -Q -t "$t:0:99999999999999")" "$t \[0\] offset -?[0-9]+\$"; }
query_ends() { has "$("${k[@]}" -Q -t "$t:0:-1")" "$t \[0\] offset [1-9][0-9]*\$" && has "$("${k[@]}" -Q -t "$t:0:-2")" "$t \[0\] offset 0\$"; }
group() { # reads all, commits, and a second run of the group reads what came since
  local n; n=$(read_all "$t" | wc -l)
  same "$(timeout 40 kcat -b "$b" -G "$g" -X auto.offset.reset=earliest -e -q "$t" 2>/dev/null | wc -l)" "$n" || return 1
  echo later | "${k[@]}" -P -t "$t" -p 0
  same "$(timeout 40 kcat -b "$b" -G "$g" -X auto.offset.reset=earliest -e -q "$t" 2>/dev/null)" later
}
group_two() { # two members of a group share a topic
  local a=$WORK/kcat.a c=$WORK/kcat.c pa pc
  timeout 40 kcat -b "$b" -G "$g-2" -X auto.offset.reset=earliest -u -q "$t-gzip" >"$a" 2>/dev/null & pa=$!
  timeout 40 kcat -b "$b" -G "$g-2" -X auto.offset.reset=earliest -u -q "$t-gzip" >"$c" 2>/dev/null & pc=$!
  for _ in $(seq 1 200); do [ "$(cat "$a" "$c" | sort -u | wc -l)" = 1000 ] && break; sleep 0.1; done
  kill $pa $pc; wait $pa $pc 2>/dev/null
  same "$(cat "$a" "$c" | sort -u | wc -l)" 1000
}
isolation() { same "$(read_all "$t-gzip" -X isolation.level="$1" | wc -l)" 1000; }
small_fetches() { same "$(read_all "$t-gzip" -X message.max.bytes=1000 -X fetch.message.max.bytes=1000 -X fetch.max.bytes=1000 | wc -l)" 1000; }
crc() { same "$(read_all "$t-gzip" -X check.crcs=true | wc -l)" 1000; }
transaction() { seq 1 10 | timeout 20 kcat -b "$b" -P -t "$t-gzip" -p 0 -m 10 -X transactional.id="$t" && same "$(read_all "$t-gzip" | wc -l)" 1010; }
old_protocol() { echo old | "${k[@]}" -P -t "$t" -p 0 -X api.version.request=false -X broker.version.fallback=0.10.2.0 -X api.version.fallback.ms=0; }
unknown_topic() { has "$("${k[@]}" -C -t "no-such-$t" -p 0 -o beginning -e -X allow.auto.create.topics=false 2>&1)" 'Unknown topic or partition'; }
unknown_partition() { has "$(echo x | "${k[@]}" -P -t "$t" -p 4711 2>&1)" 'Unknown partition|Unknown topic or partition'; }

check create create
check list list_all
check list/json list_json
check produce produce_lines
for c in gzip snappy lz4 zstd; do check "codec/$c" codec "$c"; done
for a in 0 1 -1; do check "acks/$a" acks "$a"; done
check idempotent idempotent
check keys keys
check headers headers
check null null_value
check delimiter delimiter
check large large
check json json
check offset/absolute offset_absolute
check offset/tail offset_tail
check offset/end offset_end
check offset/out-of-range offset_stored
check offset/timestamp timestamp
check offset/window window
check query/start query_start
check query/future query_future
check query/ends query_ends
check group group
check group/two group_two
check isolation/committed isolation read_committed
check isolation/uncommitted isolation read_uncommitted
check fetch/small small_fetches
check fetch/crc crc
check transaction transaction
check protocol/0.10.2 old_protocol
check unknown/topic unknown_topic
check unknown/partition unknown_partition

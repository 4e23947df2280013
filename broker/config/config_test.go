package config

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"chronik.dev/chronik/broker/allocation"
)

func TestOrigins(t *testing.T) {
	c := New()
	must(t, c.Set("num.partitions", "9", Flag, "--set"))
	must(t, c.LoadEnv([]string{"PATH=/", "CHRONIKD_NUM_PARTITIONS=7", "CHRONIKD_LOG_DIR=/env", "CHRONIKD_CONFIG=x"}, "CHRONIKD_CONFIG"))
	must(t, c.LoadProperties("f", []byte("num.partitions=5\nlog.dirs=/file\nnode.id=2\nbroker.id=3\n")))
	if c.NumPartitions() != 9 || c.DataDir() != "/env" || c.NodeID() != 3 {
		t.Errorf("partitions %d, directory %s, node %d", c.NumPartitions(), c.DataDir(), c.NodeID())
	}
	for key, want := range map[string]string{"num.partitions": "9 flag --set", "log.dirs": "/env env environment variable CHRONIKD_LOG_DIR",
		"node.id": "3 file f:4", "fetch.max.bytes": "57671680 default "} {
		value, origin, where, ok := c.Origin(key)
		if got := value + " " + origin.String() + " " + where; !ok || got != want {
			t.Errorf("%s: %q, want %q", key, got, want)
		}
	}
	if _, _, _, ok := c.Origin("nothing"); ok {
		t.Error("an unknown key has an origin")
	}
}

func TestRefusals(t *testing.T) {
	for pair, want := range map[string]string{
		"num.partition=3":                      "did you mean num.partitions?",
		"log.retention.msec=1":                 "did you mean log.retention.ms?",
		"zzzzzzzzzzzzzzzzzz=1":                 "docs/configuration.md",
		"process.roles=broker":                 "does not use",
		"num.partitions=0":                     "at least 1",
		"num.partitions=many":                  "whole number",
		"num.partitions=3000000000":            "32 bits",
		"auto.create.topics.enable=yes":        "true or false",
		"log.segment.bytes=1024":               "at least 1048576",
		"log.message.timestamp.type=Now":       "one of CreateTime, LogAppendTime",
		"log.cleanup.policy=compact":           "only delete",
		"unclean.leader.election.enable=true":  "in-sync",
		"log.dirs=/a,/b":                       "2 directories",
		"listeners=127.0.0.1:9092":             "NAME://HOST:PORT",
		"listeners=A://h:1,a://h:2":            "names must differ",
		"listeners=PLAINTEXT://h:70000":        "65535",
		"listeners=":                           "no listener",
		"listener.security.protocol.map=X:SSL": "only PLAINTEXT",
		"chronik.admin.listener=here":          "HOST:PORT",
		"chronik.journal.segment.bytes=1":      "between",
		"num.partitions":                       "KEY=VALUE",
	} {
		err := New().SetPair(pair, Flag, "--set")
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", pair, err, want)
		}
	}
}

func TestValidate(t *testing.T) {
	for text, want := range map[string]string{
		"group.min.session.timeout.ms=9\ngroup.max.session.timeout.ms=8":     "above group.max.session",
		"chronik.journal.max.bytes=1000000":                                  "four journal segments",
		"listeners=LAN://h:1":                                                "LAN:PLAINTEXT",
		"advertised.listeners=LAN://h:1":                                     "no listener has this name",
		"advertised.listeners=PLAINTEXT://0.0.0.0:1":                         "cannot connect",
		"listeners=LAN://:1\nlistener.security.protocol.map=lan:plaintext\n": "",
	} {
		c := New()
		must(t, c.LoadProperties("f", []byte(text)))
		err := c.Validate()
		if (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	err := New().LoadProperties("f", []byte("a=1\nnum.partitions=x\n"))
	if err == nil || strings.Count(err.Error(), "\n") != 1 || !strings.Contains(err.Error(), "f:2: num.partitions=x") {
		t.Errorf("both lines should be named: %v", err)
	}
}

func TestAdvertised(t *testing.T) {
	c := New()
	must(t, c.LoadProperties("f", []byte("listeners=A://:0,B://127.0.0.1:9,C://[::]:7\nadvertised.listeners=B://public:0\nlistener.security.protocol.map=A:PLAINTEXT,B:PLAINTEXT,C:PLAINTEXT")))
	must(t, c.Validate())
	bound := c.Listeners()
	bound[0].Port = 1234
	want := []Endpoint{{"A", "box", 1234}, {"B", "public", 9}, {"C", "box", 7}}
	if got := c.Advertised(bound, "box"); !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := (Endpoint{"A", "::1", 5}).String(); got != "A://[::1]:5" {
		t.Error(got)
	}
}

func TestProperties(t *testing.T) {
	text := "# comment\n! too\n\n  a = 1 \nb:2\nc 3\nd=x\\\n   y\\=z\ne\\ f=\\u00e9\\t\ng\nh==i\r\nj=\\\\\nk=last"
	props, err := parseProperties([]byte(text))
	must(t, err)
	var got []string
	for _, p := range props {
		got = append(got, p.key+"="+p.value)
	}
	want := []string{"a=1 ", "b=2", "c=3", "d=xy=z", "e f=é\t", "g=", "h==i", `j=\`, "k=last"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	for _, bad := range []string{"a=\\u12", "a=\\uzzzz", "a=\xff"} {
		if _, err := parseProperties([]byte(bad)); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func FuzzProperties(f *testing.F) {
	f.Add([]byte("a=1\\\n b\\u0041"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var props []property
		var err error
		allocation.Bounded(t, len(b), 64<<10, func() { props, err = parseProperties(b) })
		if err != nil {
			return
		}
		size := 0
		for _, p := range props {
			size += len(p.key) + len(p.value)
		}
		if size > len(b) {
			t.Errorf("%d bytes became %d", len(b), size)
		}
	})
}

// TestDynamic has the values of one key at every level, and takes them away one by one.
func TestDynamic(t *testing.T) {
	c := New()
	must(t, c.Set("log.retention.hours", "2", File, ""))
	levels := []struct {
		cluster, node, topic map[string]string
		want                 int64
		source               Source
		synonyms             int
	}{
		{nil, nil, nil, 7_200_000, StaticBroker, 2},
		{map[string]string{"log.retention.ms": "3"}, nil, nil, 3, DynamicDefaultBroker, 3},
		{map[string]string{"log.retention.ms": "3"}, map[string]string{"log.retention.ms": "4"}, nil, 4, DynamicBroker, 4},
		{map[string]string{"log.retention.ms": "3"}, map[string]string{"log.retention.ms": "4"}, map[string]string{"retention.ms": "-1"}, -1, DynamicTopic, 5},
		{map[string]string{"log.retention.ms": "nonsense"}, nil, map[string]string{"retention.ms": "nonsense"}, 7_200_000, StaticBroker, 4},
	}
	for i, l := range levels {
		d := c.WithDynamic(l.cluster, l.node)
		if got := d.Topic(l.topic).RetentionMs; got != l.want {
			t.Errorf("%d: %d, want %d", i, got, l.want)
		}
		for _, e := range d.TopicEntries(l.topic) {
			if e.Name == "retention.ms" && (e.Source != l.source || len(e.Synonyms) != l.synonyms) {
				t.Errorf("%d: source %d, synonyms %v", i, e.Source, e.Synonyms)
			}
		}
	}
	if c.WithDynamic(map[string]string{"num.partitions": "9"}, nil).NumPartitions() != 1 {
		t.Error("a key that needs a restart changed live")
	}
	d := c.WithDynamic(map[string]string{"min.insync.replicas": "2"}, map[string]string{"message.max.bytes": "5"})
	if d.Topic(nil).MinInsyncReplicas != 2 || d.MessageMaxBytes() != 5 || len(d.ClusterEntries()) != 1 {
		t.Errorf("%+v", d.ClusterEntries())
	}
	for _, e := range d.BrokerEntries() {
		switch e.Name {
		case "message.max.bytes":
			if *e.Value != "5" || e.Source != DynamicBroker || e.ReadOnly || len(e.Synonyms) != 2 {
				t.Errorf("%+v", e)
			}
		case "log.retention.hours":
			if *e.Value != "2" || e.Source != StaticBroker || !e.ReadOnly {
				t.Errorf("%+v", e)
			}
		case "log.retention.ms":
			if e.Value != nil || e.Source != DefaultConfig {
				t.Errorf("%+v", e)
			}
		}
	}
}

func TestTopicValues(t *testing.T) {
	for _, c := range []struct {
		key, value string
		internal   bool
		want       string
	}{
		{"cleanup.policy", "compact", false, "not offered"},
		{"cleanup.policy", "delete,compact", false, "not offered"},
		{"cleanup.policy", "compact", true, ""},
		{"cleanup.policy", "delete", true, "must stay"},
		{"cleanup.policy", "", false, "one of"},
		{"retention.ms", "-1", false, ""},
		{"retention.ms", "-2", false, "at least -1"},
		{"segment.bytes", " 2097152 ", false, ""},
		{"retention.mss", "1", false, "did you mean retention.ms?"},
		{"flush.messages", "1", false, ""},
		{"min.cleanable.dirty.ratio", "0.50", false, ""},
		{"min.cleanable.dirty.ratio", "0.1", false, "only 0.5"},
		{"unclean.leader.election.enable", "FALSE", false, ""},
		{"preallocate", "true", false, "only false"},
		{"file.delete.delay.ms", "1", false, "checkpoint"},
		{"compression.type", "zstd", false, "stored as they were sent"},
		{"remote.storage.enable", "true", false, "tiered"},
	} {
		err := ValidateTopic(map[string]string{c.key: c.value}, c.internal)
		if (c.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s=%s: %v, want %q", c.key, c.value, err, c.want)
		}
	}
	if err := ValidateTopic(New().OffsetsTopic(), true); err != nil {
		t.Error(err)
	}
}

func TestAlter(t *testing.T) {
	v := func(s string) *string { return &s }
	c := New()
	for name, test := range map[string]struct {
		ops       []Op
		broker    bool
		want      string
		malformed bool
	}{
		"set":        {ops: []Op{{"retention.ms", SetValue, v(" 5 ")}}, want: "map[retention.ms:5] []"},
		"delete":     {ops: []Op{{"retention.ms", DeleteValue, nil}}, want: "map[] [retention.ms]"},
		"delete old": {ops: []Op{{"gone", DeleteValue, nil}}, want: "map[] [gone]"},
		"append":     {ops: []Op{{"cleanup.policy", AppendValue, v("delete")}}, want: "map[cleanup.policy:delete] []"},
		"append bad": {ops: []Op{{"cleanup.policy", AppendValue, v("compact")}}, want: "not offered"},
		"subtract":   {ops: []Op{{"cleanup.policy", Subtract, v("delete")}}, want: "one of"},
		"no list":    {ops: []Op{{"retention.ms", AppendValue, v("5")}}, want: "lists"},
		"twice":      {ops: []Op{{"retention.ms", SetValue, v("5")}, {"retention.ms", SetValue, v("5")}}, want: "twice", malformed: true},
		"null":       {ops: []Op{{"retention.ms", SetValue, nil}}, want: "null", malformed: true},
		"operation":  {ops: []Op{{"retention.ms", 4, v("5")}}, want: "unknown operation", malformed: true},
		"unknown":    {ops: []Op{{"retention.m", SetValue, v("5")}}, want: "retention.ms?"},
		"live":       {broker: true, ops: []Op{{"log.retention.ms", SetValue, v("5")}}, want: "map[log.retention.ms:5] []"},
		"restart":    {broker: true, ops: []Op{{"num.partitions", SetValue, v("5")}}, want: "restart"},
		"bad":        {broker: true, ops: []Op{{"log.retention.ms", SetValue, v("x")}}, want: "whole number"},
	} {
		var sets map[string]string
		var deletes []string
		var err error
		if test.broker {
			sets, deletes, err = c.AlterBroker(nil, test.ops)
		} else {
			sets, deletes, err = c.AlterTopic(map[string]string{"gone": "1"}, false, test.ops)
		}
		got := strings.TrimSpace(sprint(sets, deletes, err))
		var e *Error
		if !strings.Contains(got, test.want) || errors.As(err, &e) && e.Malformed != test.malformed {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
}

// TestReadBack sets valid values of random topic keys and reads exactly those back.
func TestReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		own := map[string]string{}
		for _, k := range TopicKeys() {
			if k.Type == Long && k.check != nil && rapid.Bool().Draw(t, k.Name) {
				value := rapid.StringMatching(`-?[0-9]{1,6}`).Draw(t, "value")
				if ValidateTopic(map[string]string{k.Name: value}, false) == nil {
					own[k.Name] = value
				}
			}
		}
		for _, e := range New().TopicEntries(own) {
			if want, set := own[e.Name]; set != (e.Source == DynamicTopic) || set && *e.Value != want {
				t.Fatalf("%s: %q from %d, set to %q", e.Name, *e.Value, e.Source, want)
			}
		}
	})
}

func sprint(sets map[string]string, deletes []string, err error) string {
	if err != nil {
		return err.Error()
	}
	return fmt.Sprint(sets, deletes)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

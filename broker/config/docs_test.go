package config

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/configuration.md anew from the schema")

const docPage = "../../docs/configuration.md"

// TestDocumentation compares docs/configuration.md with the schema; -update writes the page.
func TestDocumentation(t *testing.T) {
	want := page()
	if *update {
		if err := os.WriteFile(docPage, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(docPage)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("docs/configuration.md is not what the schema says; run go test ./broker/config -run Documentation -update")
	}
}

func page() string {
	var b strings.Builder
	b.WriteString(`# Configuration

Keys have Apache Kafka's names and meanings; keys of chronik's own begin with ` + "`chronik.`" + `. A node takes them, the strongest first, from
flags (` + "`--set KEY=VALUE`" + `), the environment (` + "`CHRONIKD_LOG_RETENTION_MS`" + ` for ` + "`log.retention.ms`" + `), a properties file
(` + "`--config FILE`" + `) and the defaults. An unknown key stops the start and names the nearest valid one.

A key is listed if this node honours it. Some keys that common tools set say "only" under *valid*: the one value that is true of chronik is
accepted, every other refused with the reason (INVALID_CONFIG), so that nothing is claimed that is not done.

This page is written from the schema: ` + "`go test ./broker/config -run Documentation -update`" + `.

## Keys of a node

*Live* keys change while the node runs (` + "`kafka-configs --alter --entity-type brokers`" + `, IncrementalAlterConfigs), for one node or for all.
` + "`log.dir` and `broker.id` are accepted for `log.dirs` and `node.id`." + `

| key | type | default | valid | live | what |
|---|---|---|---|---|---|
`)
	for _, k := range BrokerKeys() {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s |\n", k.Name, k.Type, shown(k), k.Valid, map[bool]string{true: "yes", false: ""}[k.Dynamic], k.Doc)
	}
	b.WriteString(`
## Keys of a topic

All of them change while the topic is in use. A topic without a value of its own follows the node's key. ` + "`cleanup.policy=compact`" + ` is for
internal topics; for others it is refused until it works.

| key | type | default | valid | node's key | what |
|---|---|---|---|---|---|
`)
	for _, k := range TopicKeys() {
		var names []string
		for _, n := range k.Broker {
			names = append(names, "`"+n+"`")
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s |\n", k.Name, k.Type, shown(k), k.Valid, strings.Join(names, ", "), k.Doc)
	}
	return b.String()
}

func shown(k *Key) string {
	switch {
	case k.NoDefault:
		return "unset"
	case k.Default == "":
		return "empty"
	}
	return "`" + k.Default + "`"
}

// TestAgainstKafka compares types, defaults and what can change live with what Apache Kafka 4.3.1 answered to DescribeConfigs
// (testdata/kafka-4.3.1-*.tsv). The differences that are meant are listed.
func TestAgainstKafka(t *testing.T) {
	meant := map[string]string{
		"listeners": "loopback unless told otherwise", "listener.security.protocol.map": "PLAINTEXT only", "log.dirs": "has a default",
		"node.id": "has a default", "offsets.topic.replication.factor": "one node", "queued.max.request.bytes": "bounded by default",
	}
	for file, keys := range map[string][]*Key{"topic": TopicKeys(), "broker": BrokerKeys()} {
		text, err := os.ReadFile("testdata/kafka-4.3.1-" + file + ".tsv")
		if err != nil {
			t.Fatal(err)
		}
		theirs := map[string]string{}
		for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
			name, rest, _ := strings.Cut(line, "\t")
			theirs[name] = rest
		}
		for _, k := range keys {
			def := k.Default
			if k.NoDefault {
				def = "null"
			}
			ours := fmt.Sprintf("%s\t%s\tro=%v", strings.ToUpper(k.Type.String()), def, file == "broker" && !k.Dynamic)
			switch their, ok := theirs[k.Name]; {
			case !ok && !strings.HasPrefix(k.Name, "chronik."):
				t.Errorf("%s is no key of Kafka's %s", k.Name, file)
			case ok && their != ours && meant[k.Name] == "":
				t.Errorf("%s: %q, Kafka says %q", k.Name, ours, their)
			}
			delete(theirs, k.Name)
		}
		if file == "topic" && len(theirs) > 0 {
			t.Errorf("Kafka's topic keys that are missing here: %v", theirs)
		}
		for name := range unused {
			if _, ok := theirs[name]; file == "broker" && !ok && name != "zookeeper.connect" {
				t.Errorf("%s is listed as unused and is no key of Kafka's, or is in use", name)
			}
		}
	}
}

// TestSchema checks the schema itself: defaults are valid, synonyms exist and have the same default.
func TestSchema(t *testing.T) {
	c := New()
	for _, k := range append(BrokerKeys(), TopicKeys()...) {
		if !k.NoDefault {
			if err := k.validate(k.Default); err != nil && k.Name != "advertised.listeners" {
				t.Errorf("%s: the default %q is refused: %v", k.Name, k.Default, err)
			}
		}
		if k.Doc == "" || !strings.HasSuffix(k.Doc, ".") || k.Type.String() == "" {
			t.Errorf("%s: no type or no sentence of documentation", k.Name)
		}
		for _, name := range k.Broker {
			if brokerKeys[name] == nil {
				t.Errorf("%s: no broker key %s", k.Name, name)
			}
		}
	}
	for _, k := range TopicKeys() {
		if v, source := c.topicValue(k.Name, nil); v != k.Default || source != DefaultConfig {
			t.Errorf("%s: inherits %q (source %d), its default is %q", k.Name, v, source, k.Default)
		}
	}
	if err := c.Validate(); err != nil {
		t.Errorf("the defaults are refused: %v", err)
	}
}

package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"

	"chronik.dev/chronik/bench/node"
)

// settings are those of both brokers that suites ask for: kafka-go's tests want node 1 at "localhost" and its CI sets the size of messages, kafka-python's
// tests join groups with short sessions.
var settings = []string{"advertised.listeners=PLAINTEXT://localhost:9092", "message.max.bytes=200000000", "group.min.session.timeout.ms=1000", "group.initial.rebalance.delay.ms=0", "socket.request.max.bytes=210000000"}

// running is a broker.
type running struct{ stop func() }

func (w *work) start(broker string) (*running, error) {
	if c, err := net.Dial("tcp", address); err == nil {
		_ = c.Close()
		return nil, fmt.Errorf("something listens on %s already", address)
	}
	switch broker {
	case "kafka":
		return w.startKafka()
	case "chronik":
		return w.startChronik()
	}
	return nil, fmt.Errorf("no broker %q: kafka or chronik", broker)
}

func (w *work) startKafka() (*running, error) {
	dir, script := filepath.Join(w.dir, "kafka"), filepath.Join(w.anchors, "kafka")
	args := []string{"start", dir, "--port", "9092", "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer", "allow.everyone.if.no.acl.found=true",
		"super.users=User:ANONYMOUS"} // as kafka-go's and kafka-python's CI
	// To a file: the broker keeps the script's output open.
	c := exec.Command(script, append(args, settings...)...)
	log, err := os.Create(filepath.Join(w.logs, "kafka.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	c.Stdout, c.Stderr = log, log
	if err := c.Run(); err != nil {
		return nil, fmt.Errorf("%s start: %w; see %s", script, err, log.Name())
	}
	return &running{stop: func() { _ = exec.Command(script, "stop", dir).Run() }}, nil
}

func (w *work) startChronik() (*running, error) {
	log, err := os.Create(filepath.Join(w.logs, "chronik.log"))
	if err != nil {
		return nil, err
	}
	n := &node.Node{Bin: w.chronik, Dir: filepath.Join(w.dir, "data"), Listen: address, Settings: settings, Log: log}
	if _, err := n.Start(); err != nil {
		return nil, err
	}
	return &running{stop: func() {
		if err := n.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stop chronik:", err)
		}
	}}, nil
}

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// kafkaBroker is Apache Kafka, one node, with its defaults but for smaller preallocated indexes, log.flush.interval.messages=1, so that each
// acknowledged record is synced, and a topic of as many partitions as there are faults: each start judges them all, one fault in each partition directory.
type kafkaBroker struct {
	o     options
	dir   string
	count int // partitions
}

const kafkaTopic = "damage"

func (k *kafkaBroker) address() string { return fmt.Sprintf("127.0.0.1:%d", k.o.port) }
func (k *kafkaBroker) logDir() string  { return filepath.Join(k.dir, "data1") }
func (k *kafkaBroker) partition(p int) string {
	return filepath.Join(k.logDir(), fmt.Sprintf("%s-%d", kafkaTopic, p))
}

func (k *kafkaBroker) script(args ...string) error {
	cmd := exec.Command(k.o.kafka, args...)
	cmd.Env = append(os.Environ(), "KAFKA_ANCHOR_HEAP=768m")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %.2000s", cmd, err, out)
	}
	return nil
}

// start starts the broker and waits until it accepts connections, or is gone.
func (k *kafkaBroker) start() error {
	done := make(chan error, 1)
	go func() {
		done <- k.script("start", k.dir, "--port", fmt.Sprint(k.o.port), "log.index.size.max.bytes=65536", "log.flush.interval.messages=1", "log.retention.ms=-1",
			"log.cleaner.enable=false")
	}()
	seen := false
	for {
		select {
		case err := <-done:
			return err
		case <-time.After(200 * time.Millisecond):
		}
		pid, err := os.ReadFile(filepath.Join(k.dir, "node1.pid"))
		if err != nil {
			continue
		}
		switch _, err := os.Stat("/proc/" + strings.TrimSpace(string(pid))); {
		case err == nil:
			seen = true
		case seen: // the script waits on for a port that nobody will open; it ends by itself
			return fmt.Errorf("the broker ended")
		}
	}
}

// tryKafka runs the catalogue on Apache Kafka, killed and stopped: one start for all faults of a state, more only where the broker does not start.
func tryKafka(o options) (out []*tally, err error) {
	for _, state := range strings.Split(o.states, ",") {
		k := &kafkaBroker{o: o, dir: filepath.Join(o.dir, "kafka"), count: o.perClass * len(classes)}
		t, err := k.try(state)
		if err != nil {
			_ = k.script("kill", k.dir)
			return nil, fmt.Errorf("%s: %w; its log: %.1500s", state, err, k.log())
		}
		out = append(out, t)
	}
	return out, nil
}

func (k *kafkaBroker) try(state string) (*tally, error) {
	began := time.Now()
	if err := os.RemoveAll(k.dir); err != nil {
		return nil, err
	}
	older, err := k.fill()
	if err != nil {
		return nil, err
	}
	verb := map[string]string{"killed": "kill", "closed": "stop"}[state]
	if err := k.script(verb, k.dir); err != nil {
		return nil, err
	}
	faults, t, err := k.spoil(state, older)
	if err != nil {
		return nil, err
	}
	refusals, err := k.restart(faults)
	if err != nil {
		return nil, err
	}
	starts, err := k.read()
	if err != nil {
		return nil, err
	}
	said := k.complaints()
	for p, f := range faults {
		switch s := starts[p]; {
		case f == nil:
		case refusals[p] != "":
			t.add(f, answer{Outcome: refused, Text: refusals[p]})
		default:
			s.reports = said[p]
			o, text := s.judge()
			t.add(f, answer{Outcome: o, Text: text})
			if k.o.verbose {
				fmt.Fprintf(os.Stderr, "Apache Kafka, %s: %s: %s: %.300s\n", state, f, o, text)
			}
		}
	}
	t.took = time.Since(began)
	return t, k.script("kill", k.dir)
}

// fill starts a broker and produces the data set into every partition, synced; it returns partition 0's files as they were half-way.
func (k *kafkaBroker) fill() (older image, err error) {
	if err := k.start(); err != nil {
		return nil, err
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(k.address()), kgo.RequiredAcks(kgo.AllISRAcks()), kgo.ProducerLinger(0), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if r, err := kadm.NewClient(cl).CreateTopic(ctx, int32(k.count), 1, nil, kafkaTopic); err != nil || r.Err != nil {
		return nil, fmt.Errorf("create topic: %v %v", err, r.Err)
	}
	for i := 0; i < entries; i += group {
		if i == entries/2 {
			if older, err = readImage(k.partition(0)); err != nil {
				return nil, err
			}
		}
		var records []*kgo.Record
		for p := range k.count {
			for j := i; j < i+group; j++ {
				records = append(records, &kgo.Record{Topic: kafkaTopic, Partition: int32(p), Value: value(j)})
			}
		}
		if err := cl.ProduceSync(ctx, records...).FirstErr(); err != nil {
			return nil, err
		}
	}
	return older, nil
}

// spoil puts one fault into each partition: of each class the same number, taken from the catalogue by chance.
func (k *kafkaBroker) spoil(state string, older image) ([]*fault, *tally, error) {
	first, err := readImage(k.partition(0))
	if err != nil {
		return nil, nil, err
	}
	byClass := map[string][]*fault{}
	for _, f := range catalogue(first, older, k.o.flips, 0, k.o.seed) {
		byClass[f.class] = append(byClass[f.class], f)
	}
	rng := rand.New(rand.NewPCG(k.o.seed, 2))
	faults, p := make([]*fault, k.count), 0
	for _, class := range classes {
		list := byClass[class]
		rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		used, small := 0, map[string]int{}
		for _, f := range list {
			if f.file == "partition.metadata" { // damage to it keeps the whole broker from starting, with an error that names no partition
				continue
			}
			if small[f.file]++; used == k.o.perClass || !strings.HasSuffix(f.file, ".log") && small[f.file] > max(1, k.o.perClass/10) {
				continue // what is written is in the log; the other files get some
			}
			own, err := k.hit(p, f)
			if err != nil {
				return nil, nil, err
			}
			faults[p] = own
			p, used = p+1, used+1
		}
	}
	return faults, newTally("Apache Kafka", state, first), nil
}

// hit does to partition p what a fault does to partition 0, whose files differ in timestamps and topic ids only.
func (k *kafkaBroker) hit(p int, f *fault) (*fault, error) {
	m, err := readImage(k.partition(p))
	if err != nil {
		return nil, err
	}
	old, err := readImage(k.partition(0))
	if err != nil {
		return nil, err
	}
	own := *f
	own.file = filepath.Join(filepath.Base(k.partition(p)), f.file)
	if f.data != nil { // what the fault changed, else this partition's own bytes
		own.data = append([]byte{}, f.data...)
		was, mine := old[f.file], m[f.file]
		for i := range own.data {
			if f.class == flip && i < len(was) && i < len(mine) {
				own.data[i] = mine[i] ^ was[i] ^ f.data[i]
			}
		}
		if f.class == cut {
			own.data = append([]byte{}, mine[:min(len(f.data), len(mine))]...)
		}
		return &own, os.WriteFile(filepath.Join(k.logDir(), own.file), own.data, 0o644)
	}
	return &own, os.Remove(filepath.Join(k.logDir(), own.file))
}

// restart starts the broker. Where it does not start, the partitions that its last words name, or quote, are refusals; they are taken out and it is
// started again.
func (k *kafkaBroker) restart(faults []*fault) (map[int]string, error) {
	out, slow := map[int]string{}, 0
	for range 40 {
		err := k.start()
		if err == nil {
			err = k.up()
		}
		if err == nil {
			return out, nil
		}
		_ = k.script("kill", k.dir)
		found := 0
		for p, f := range faults {
			if f == nil || out[p] != "" {
				continue
			}
			if why := k.blames(p, f); why != "" {
				out[p] = why
				found++
				if err := os.RemoveAll(k.partition(p)); err != nil {
					return nil, err
				}
			}
		}
		if slow++; found == 0 && slow > 3 { // on a busy machine its controller times out, with nothing damaged
			return nil, fmt.Errorf("the broker does not start, and blames no partition: %w", err)
		}
	}
	return nil, errors.New("the broker does not start after 40 tries")
}

// blames returns the error of the broker's log that names a partition or, between quotes, a line of the damaged file.
func (k *kafkaBroker) blames(p int, f *fault) string {
	for _, line := range k.complaints()[p] {
		if strings.Contains(line, "ERROR") || strings.Contains(line, "FATAL") {
			return line
		}
	}
	if strings.HasSuffix(f.file, ".log") {
		return ""
	}
	for line := range strings.Lines(k.log()) {
		if !strings.Contains(line, "ERROR") && !strings.Contains(line, "Exception") {
			continue
		}
		for own := range strings.FieldsSeq(string(f.data)) {
			if strings.ContainsAny(line, "`'\"(") && len(own) > 8 && strings.Contains(line, own) {
				return line
			}
		}
	}
	return ""
}

// up waits until every partition has a leader or a minute has gone.
func (k *kafkaBroker) up() error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(k.address()))
	if err != nil {
		return err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		if _, err = kadm.NewClient(cl).ListEndOffsets(ctx, kafkaTopic); err == nil || ctx.Err() != nil {
			return err
		}
		time.Sleep(200 * time.Millisecond)
	}
}

func (k *kafkaBroker) log() string {
	data, _ := os.ReadFile(filepath.Join(k.dir, "node1.log"))
	return string(data)
}

// complaints are the lines of the broker's log, WARN and above, that name a partition or its directory.
func (k *kafkaBroker) complaints() map[int][]string {
	out := map[int][]string{}
	in := bufio.NewScanner(strings.NewReader(k.log()))
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		line := in.Text()
		for rest := line; ; {
			_, after, ok := strings.Cut(rest, kafkaTopic+"-")
			if !ok {
				break
			}
			var p int
			if n, _ := fmt.Sscanf(after, "%d", &p); n == 1 && p >= 0 && p < k.count && (len(out[p]) == 0 || out[p][len(out[p])-1] != line) {
				out[p] = append(out[p], line)
			}
			rest = after
		}
	}
	return out
}

// read reads every partition to its end, or to the error that ends it.
func (k *kafkaBroker) read() ([]*seen, error) {
	out := make([]*seen, k.count)
	for p := range out {
		out[p] = newSeen()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(k.address()), kgo.ConsumeTopics(kafkaTopic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, kafkaTopic)
	if err != nil {
		return nil, err
	}
	waiting := map[int]int64{}
	ends.Each(func(e kadm.ListedOffset) {
		if e.Err != nil {
			fail(out[e.Partition], e.Err)
		} else if e.Offset > 0 {
			waiting[int(e.Partition)] = e.Offset
		}
	})
	for len(waiting) > 0 {
		quiet, stop := context.WithTimeout(ctx, 10*time.Second)
		fetches := cl.PollFetches(quiet)
		timedOut := quiet.Err() != nil
		stop()
		if timedOut {
			break
		}
		fetches.EachError(func(_ string, p int32, err error) {
			if p >= 0 {
				fail(out[p], err)
				delete(waiting, int(p))
			}
		})
		fetches.EachRecord(func(r *kgo.Record) {
			out[r.Partition].values[int(r.Offset)] = r.Value
			if end, ok := waiting[int(r.Partition)]; ok && r.Offset+1 >= end {
				delete(waiting, int(r.Partition))
			}
		})
	}
	for p, end := range waiting {
		fail(out[p], fmt.Errorf("the broker says that the log ends at %d, and %d records came in 10 s", end, len(out[p].values)))
	}
	return out, nil
}

// fail notes that what was not read of a partition was answered with an error.
func fail(s *seen, err error) {
	for i := range entries {
		if _, ok := s.values[i]; !ok {
			s.unreadable[i] = err.Error()
		}
	}
}

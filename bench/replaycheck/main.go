// Command replaycheck kills `chronik wal replay --to` with SIGKILL at random moments, again and again, and the target node too, until a run
// gets through; then it reads the target back and compares every record with what was produced into the source: partition, order, time, key,
// value, headers, each exactly once. The source is a chronik node that was killed under load. Any difference ends it with exit code 1.
//
//	go run ./bench/replaycheck --bin ./chronik --kills 50
//	go run ./bench/replaycheck --bin ./chronik --kills 50 --target 127.0.0.1:9092   # a cluster of yours, which is not killed
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"chronik.dev/chronik/bench/node"
)

const exitUnreachable = 11 // of chronik

type program struct {
	bin, work  string
	partitions int
	kills      int
	rng        *rand.Rand
	address    string     // of the target
	target     *node.Node // nil: not ours
	prefix     string
	sum        summary
}

// summary is the line that the programme prints.
type summary struct {
	Seed        uint64  `json:"seed"`
	Records     int     `json:"records"`
	Kills       int     `json:"kills"`
	TargetKills int     `json:"target_kills"`
	Batches     int64   `json:"batches"`
	Duplicates  int64   `json:"duplicates_answered"`
	Missing     int     `json:"missing"`
	Doubled     int     `json:"doubled"`
	Changed     int     `json:"changed"`
	Seconds     float64 `json:"seconds"`
}

func main() {
	bin := flag.String("bin", "./chronik", "the chronik binary")
	kills := flag.Int("kills", 50, "kills of the tool")
	every := flag.Int("target-every", 7, "kill the target too after every Nth kill of the tool; 0 = never")
	records := flag.Int("records", 60000, "records to replay")
	partitions := flag.Int("partitions", 6, "partitions of the topic")
	target := flag.String("target", "", "HOST:PORT of a running cluster; default a chronik node of its own")
	rate := flag.Float64("rate", 0.4, "MB/s of each run, so that kills hit the middle of it")
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano()), "seed of the kill times")
	flag.Parse()
	work, err := os.MkdirTemp("", "replaycheck")
	if err != nil {
		fatal(err)
	}
	p := &program{
		bin: *bin, work: work, partitions: *partitions, kills: *kills, rng: rand.New(rand.NewPCG(*seed, 2)), address: *target,
		prefix: fmt.Sprintf("replay-%d.", time.Now().UnixNano()), sum: summary{Seed: *seed},
	}
	err = p.run(*records, *every, *rate)
	if p.target != nil {
		err = errors.Join(err, p.target.Stop())
	}
	line, _ := json.Marshal(p.sum)
	fmt.Println(string(line))
	if err != nil {
		fatal(fmt.Errorf("%w (data kept in %s)", err, work))
	}
	_ = os.RemoveAll(work)
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, "replaycheck: FAILED:", err)
	os.Exit(1)
}

func (p *program) run(records, every int, rate float64) error {
	began := time.Now()
	source, err := p.newNode("source")
	if err != nil {
		return err
	}
	want, err := p.fill(source, records)
	if err != nil {
		return err
	}
	if p.address == "" {
		if p.target, err = p.newNode("target"); err != nil {
			return err
		}
		if _, err := p.target.Start(); err != nil {
			return err
		}
		p.address = p.target.Listen
	}
	if err := p.replay(source.Dir, every, rate); err != nil {
		return err
	}
	got, err := readAll(p.address, p.prefix+topic, p.partitions)
	if err != nil {
		return err
	}
	p.sum.Seconds = time.Since(began).Seconds()
	return p.compare(want, got)
}

// replay runs the tool and kills it until it has been killed often enough, then lets it finish.
func (p *program) replay(dir string, every int, rate float64) error {
	args := []string{"wal", "replay", dir, "--to", p.address, "--prefix", p.prefix, "--create", "--resume", filepath.Join(p.work, "resume"), "-o", "json",
		"--rate", fmt.Sprint(rate)}
	for p.sum.Kills < p.kills {
		cmd := exec.Command(p.bin, args...)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			return err
		}
		time.Sleep(time.Duration(20+p.rng.IntN(600)) * time.Millisecond)
		killed := cmd.Process.Kill() == nil
		if err := cmd.Wait(); err == nil {
			return fmt.Errorf("the replay ended after %d kills; give it more --records or a lower --rate", p.sum.Kills)
		} else if code := cmd.ProcessState.ExitCode(); !killed || code > 0 {
			return fmt.Errorf("the replay ended with exit code %d after %d kills: %s", code, p.sum.Kills, out.String())
		}
		p.sum.Kills++
		if p.target != nil && every > 0 && p.sum.Kills%every == 0 {
			if err := p.killTarget(args); err != nil {
				return err
			}
		}
	}
	args = append(args[:len(args)-2], "--rate", "0")
	out, err := exec.Command(p.bin, args...).Output()
	if err != nil {
		return fmt.Errorf("the last run: %w: %s", err, out)
	}
	var document struct {
		Data struct {
			Batches    int64 `json:"batches"`
			Duplicates int64 `json:"duplicates"`
		} `json:"data"`
	}
	if err := json.Unmarshal(out, &document); err != nil {
		return err
	}
	p.sum.Batches, p.sum.Duplicates = document.Data.Batches, document.Data.Duplicates
	return nil
}

// killTarget kills the node in the middle of a run of the tool, starts it again, and kills the tool some time after it went on.
func (p *program) killTarget(args []string) error {
	cmd := exec.Command(p.bin, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return err
	}
	time.Sleep(time.Duration(200+p.rng.IntN(400)) * time.Millisecond)
	if err := p.target.Kill(); err != nil {
		return err
	}
	p.sum.TargetKills++
	if _, err := p.target.Start(); err != nil {
		return err
	}
	time.Sleep(time.Duration(400+p.rng.IntN(800)) * time.Millisecond)
	_ = cmd.Process.Kill() // what it has come to is seen below
	_ = cmd.Wait()
	if cmd.ProcessState.ExitCode() == exitUnreachable {
		return nil // the target died before the tool had begun: that is its answer, and no kill
	}
	if cmd.ProcessState.ExitCode() >= 0 {
		return fmt.Errorf("the replay ended with exit code %d when the target was killed: %s", cmd.ProcessState.ExitCode(), out.String())
	}
	p.sum.Kills++
	return nil
}

// compare holds what was read against what was acknowledged in the source.
func (p *program) compare(want, got map[int32][]string) error {
	for n := range int32(p.partitions) {
		seen := map[string]int{}
		for _, r := range got[n] {
			seen[r]++
		}
		for _, r := range want[n] {
			switch seen[r] {
			case 0:
				p.sum.Missing++
			case 1:
			default:
				p.sum.Doubled++
			}
		}
		for i := range min(len(want[n]), len(got[n])) {
			if want[n][i] != got[n][i] {
				p.sum.Changed++
			}
		}
		p.sum.Records += len(got[n])
		if len(want[n]) != len(got[n]) {
			p.sum.Changed++
		}
	}
	if p.sum.Missing+p.sum.Doubled+p.sum.Changed > 0 {
		return errors.New("the target does not hold what the source held")
	}
	return nil
}

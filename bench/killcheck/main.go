// Command killcheck kills a chronik node with SIGKILL again and again under load from several clients and checks after every
// kill that nothing acknowledged is lost, nothing is invented, nothing that an idempotent producer sent is there twice or out
// of order, committed group offsets never go back, `chronik wal verify` exits 0 or 4, and Raft's term, vote, commit, log and
// ConfState are what they were. It prints one JSON line per round and a total; any violation ends it with exit code 1.
//
//	go run ./bench/killcheck --bin ./chronik --rounds 100
//
// With --disk ext4 or xfs (Linux, as root) the data directory is on a file system of its own in a loop-mounted image, and each round cuts its power
// under the running node (FS_IOC_SHUTDOWN without a flush of its log), kills the node, and mounts it again.
//
// With --fault the disk fails for a while in each round, under load, and comes back: --disk ext4 or xfs is filled to the last megabytes (full); --disk fuse is a
// FUSE file system of this process that answers writes, syncs or reads with errors, or late (faults.go). The node must go on, or end with the reason
// and start again, and nothing acknowledged is lost.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"chronik.dev/chronik/bench/node"
)

const topicName = "killcheck"

type program struct {
	node   *node.Node
	disk   *node.Disk // nil: the node is killed, its disk goes on
	ledger *ledger
	load   *load
	follow *follow
	adm    *kadm.Client
	rng    *rand.Rand
	killed int
	torn   int

	fault    string
	where    string
	failing  failing // with a fault
	outcomes map[string]*outcomes
	starts   []time.Duration
}

func main() {
	bin := flag.String("bin", "./chronik", "the chronik binary")
	dir := flag.String("dir", "", "data directory; default a new one under the temporary directory, removed on success")
	rounds := flag.Int("rounds", 100, "kills")
	limit := flag.Duration("for", 0, "end after this time even if rounds are left; 0 = no limit")
	producers := flag.Int("producers", 8, "producing clients; every fourth without idempotence")
	partitions := flag.Int("partitions", 6, "partitions of the topic")
	rate := flag.Duration("pause", 2*time.Millisecond, "pause of a producer between two records")
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano()), "seed of the kill times")
	every := flag.Int("check-every", 10, "read everything back after every Nth kill (and at the end)")
	kind := flag.String("disk", "", "a file system of its own for the data directory, as root: ext4 or xfs, whose power is cut, or with --fault fuse")
	fault := flag.String("fault", "", "instead of kills, let the disk fail for a while: full for ext4 and xfs; "+strings.Join(fuseFaults, ", ")+" or all for fuse")
	where := flag.String("where", "", "only files whose path has this in it, such as /wal/, are hit by --fault; default: by turns all, /wal/, /topics/ and /raft/")
	direct := flag.String("direct", acceptDirect, "what --disk fuse does about direct I/O: accept, refuse (at open) or late (refuse at the first write)")
	env := flag.String("env", "", "NAME=VALUE for the broker's environment")
	flag.Parse()
	work := *dir
	if work == "" {
		tmp, err := os.MkdirTemp("", "killcheck")
		if err != nil {
			fatal(err)
		}
		work = filepath.Join(tmp, "data")
	}
	p, err := setUp(*bin, work, *seed, *env)
	if err == nil && *kind+*fault != "" {
		p.where = *where
		work, err = p.mount(*kind, *fault, *direct, filepath.Dir(work))
	}
	if err != nil {
		fatal(err)
	}
	fmt.Printf("killcheck: seed %d, data %s\n", *seed, work)
	if err := p.run(*rounds, *limit, *producers, int32(*partitions), *rate, *every); err != nil {
		_ = p.node.Kill() // an image stays mounted, to be looked at
		if *kind == "fuse" {
			work = filepath.Join(filepath.Dir(filepath.Dir(work)), "back")
			err = errors.Join(err, p.failing.detach())
		}
		fatal(fmt.Errorf("%w (seed %d, data kept in %s)", err, *seed, work))
	}
	if *kind != "" {
		if err := p.unmount(); err != nil {
			fatal(err)
		}
		work = filepath.Dir(work)
	}
	if *dir == "" {
		_ = os.RemoveAll(filepath.Dir(work))
	}
}

// mount gives the node a disk of its own below dir and returns the data directory on it.
func (p *program) mount(kind, fault, direct, dir string) (data string, err error) {
	if err := checkFault(kind, fault); err != nil {
		return "", err
	}
	p.fault = fault
	if fault != "" { // so that partition files are written and synced all the time
		p.node.Settings = append(slices.Clone(p.node.Settings), "chronik.checkpoint.interval.ms=500", "chronik.tail.memory.bytes=1048576")
	}
	if kind == "fuse" {
		p.failing, data, err = newFuse(dir, direct)
	} else if p.disk, err = node.NewDisk(kind, dir); err == nil {
		data = p.disk.Mount
		if fault != "" {
			p.failing = newFull(p.disk)
		}
	}
	p.node.Dir = filepath.Join(data, "data")
	return p.node.Dir, err
}

func (p *program) unmount() error {
	if p.failing != nil {
		return p.failing.detach()
	}
	return p.disk.Detach()
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, "killcheck: FAILED:", err)
	os.Exit(1)
}

func setUp(bin, dir string, seed uint64, env string) (*program, error) {
	listen, err := node.FreeAddress()
	if err != nil {
		return nil, err
	}
	admin, err := node.FreeAddress()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return nil, err
	}
	log, err := os.Create(dir + ".log")
	if err != nil {
		return nil, err
	}
	n := &node.Node{Bin: bin, Dir: dir, Listen: listen, Admin: admin, Log: log, Settings: node.SmallFiles}
	if env != "" {
		n.Env = []string{env}
	}
	return &program{node: n, ledger: newLedger(), rng: rand.New(rand.NewPCG(seed, 1))}, nil
}

func (p *program) run(rounds int, limit time.Duration, producers int, partitions int32, rate time.Duration, every int) error {
	began := time.Now()
	took, err := p.node.Start()
	if err != nil {
		return err
	}
	p.starts = append(p.starts, took)
	cl, err := kgo.NewClient(kgo.SeedBrokers(p.node.Listen), kgo.MetadataMinAge(50*time.Millisecond))
	if err != nil {
		return err
	}
	defer cl.Close()
	p.adm = kadm.NewClient(cl)
	ctx := context.Background()
	if resp, err := p.adm.CreateTopic(ctx, partitions, 1, nil, topicName); err != nil || resp.Err != nil {
		return fmt.Errorf("create topic: %v %v", err, resp.Err)
	}
	p.load = &load{ledger: p.ledger, seeds: p.node.Listen, topic: topicName, rate: rate}
	if err := p.load.start(producers); err != nil {
		return err
	}
	if p.follow, err = startFollow(p.node.Listen, topicName); err != nil {
		return err
	}
	for round := 1; round <= rounds && (limit == 0 || time.Since(began) < limit); round++ {
		do := p.round
		if p.failing != nil {
			do = p.faultRound
		}
		if err := do(ctx, round, round%every == 0); err != nil {
			return fmt.Errorf("round %d: %w", round, err)
		}
	}
	return p.finish(ctx, producers)
}

// round lets the load run for a while, kills the node, verifies its directory and starts it again.
func (p *program) round(ctx context.Context, round int, readBack bool) error {
	time.Sleep(time.Duration(100+p.rng.IntN(900)) * time.Millisecond)
	before, err := p.raft(ctx)
	if err != nil {
		return err
	}
	acked := p.ledger.ackedCount()
	if err := p.end(); err != nil {
		return err
	}
	p.killed++
	code, out := p.node.Verify()
	if code != 0 && code != 4 {
		return fmt.Errorf("wal verify exits %d after kill -9:\n%s", code, out)
	}
	if code == 4 {
		p.torn++
	}
	took, err := p.node.Start()
	if err != nil {
		return err
	}
	p.starts = append(p.starts, took)
	after, err := p.raft(ctx)
	if err != nil {
		return err
	}
	if err := sameRaft(before, after); err != nil {
		return err
	}
	fmt.Printf(`{"round":%d,"acked":%d,"verify":%d,"start_ms":%d}`+"\n", round, acked, code, took.Milliseconds())
	if !readBack {
		return nil
	}
	short, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := p.follow.checkCommits(short, p.adm, topicName); err != nil {
		return err
	}
	return p.readBack(ctx, true)
}

// patience is how long an answer of the node may take on a machine that has other work too, readPatience the reading of all records.
const (
	patience     = time.Minute
	readPatience = 15 * time.Minute
)

func (p *program) raft(ctx context.Context) (*raftState, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return raftOf(ctx, p.node.Admin)
}

// end ends the node, and the power of its disk if that is what is tried.
func (p *program) end() error {
	if p.disk == nil {
		return p.node.Kill()
	}
	if err := p.disk.Cut(); err != nil {
		return err
	}
	if p.rng.IntN(2) == 0 { // the node may see what its disk now says, and must acknowledge nothing because of it
		time.Sleep(time.Duration(p.rng.IntN(200)) * time.Millisecond)
	}
	if err := p.node.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) { // a node ends by itself when its disk does
		return err
	}
	return errors.Join(p.disk.Detach(), p.disk.Attach())
}

// readBack compares all that the topic holds with the ledger. Under load the read ends at the high watermarks of its start, so
// records acknowledged before are all due: they are taken from the ledger first.
func (p *program) readBack(ctx context.Context, underLoad bool) error {
	ctx, cancel := context.WithTimeout(ctx, readPatience)
	defer cancel()
	due := p.ledger
	if underLoad {
		due = p.ledger.copyAcked()
	}
	read, err := readAll(ctx, p.node.Listen, topicName, p.adm)
	if err != nil {
		return err
	}
	due.takeAttempts(p.ledger)
	v := due.check(read)
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	fmt.Println(string(line))
	if v.bad() {
		return fmt.Errorf("acknowledged records and the log differ: %s", line)
	}
	return nil
}

// finish stops the load, reads everything once more, stops the node cleanly and verifies what it leaves.
func (p *program) finish(ctx context.Context, producers int) error {
	p.load.finish()
	p.follow.close()
	if err := p.readBack(ctx, false); err != nil {
		return err
	}
	if err := p.node.Stop(); err != nil {
		return fmt.Errorf("clean stop: %w", err)
	}
	if code, out := p.node.Verify("--deep"); code != 0 {
		return fmt.Errorf("wal verify --deep exits %d after a clean stop:\n%s", code, out)
	}
	var worst, sum time.Duration
	for _, s := range p.starts {
		worst, sum = max(worst, s), sum+s
	}
	p.summary()
	fmt.Printf("killcheck: %d kills, %d producers, %d records acknowledged, 0 lost, 0 invented, 0 duplicated; verify found a torn tail %d times; start to ready mean %d ms, worst %d ms\n",
		p.killed, producers, p.ledger.ackedCount(), p.torn, (sum / time.Duration(len(p.starts))).Milliseconds(), worst.Milliseconds())
	return nil
}

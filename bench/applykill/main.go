// Command applykill kills `chronik repair apply` and `chronik repair undo` with SIGKILL and checks that what is left is the directory as it was, as the
// plan makes it, or one on which no node starts and that the same command finishes; and that undo then restores it byte for byte.
//
//	go run ./bench/applykill --bin ./chronik --kills 120
//
// The directories are copies of one that a node left which was killed under load, each damaged in another way. On Linux (amd64, arm64) a kill is made
// at the entry into the Nth system call by which the process changes something, N spread evenly over all of them (ptrace); elsewhere, or where that
// is not allowed, at moments spread over the time that the command takes. With --disk xfs (Linux, as root) the directories are on a file system of
// their own in a loop-mounted image that shares blocks, so that evidence is kept by reflink. It prints one line of JSON; any violation ends it with exit
// code 1.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"chronik.dev/chronik/bench/node"
)

type program struct {
	bin, work string
	node      *node.Node // of the directory that the others are copies of
	rng       *rand.Rand
	traced    bool
	sum       summary
}

// summary is the line that the programme prints.
type summary struct {
	Seed       uint64         `json:"seed"`
	How        string         `json:"killed_at"`
	Kills      int            `json:"kills"`
	ApplyKills int            `json:"apply_kills"`
	UndoKills  int            `json:"undo_kills"`
	Ended      int            `json:"ended_before_the_kill"`
	Old        int            `json:"old"` // what was left: the tree as before the plan, as after it, and between
	New        int            `json:"new"`
	Between    int            `json:"between"`
	Refused    int            `json:"starts_refused"` // a node started on what was left between
	Finished   int            `json:"finished"`       // by the same command
	Undone     int            `json:"undone"`
	Calls      map[string]int `json:"changing_calls,omitempty"` // of each whole command
	Shared     int            `json:"shared_files,omitempty"`   // evidence that shares blocks with what it was taken from
	Seconds    float64        `json:"seconds"`
}

func main() {
	bin := flag.String("bin", "./chronik", "the chronik binary")
	kills := flag.Int("kills", 120, "kills, of apply and of undo together")
	dir := flag.String("dir", "", "where to work; default a new directory under the temporary one")
	kind := flag.String("disk", "", "work on a loop-mounted file system of this kind, ext4 or xfs")
	megabytes := flag.Int("megabytes", 6, "load before the kill of the node")
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano()), "seed of load and kill times")
	flag.Parse()
	work, err := os.MkdirTemp(*dir, "applykill")
	if err != nil {
		fatal(err)
	}
	p := &program{bin: *bin, work: work, rng: rand.New(rand.NewPCG(*seed, 5)), sum: summary{Seed: *seed, Calls: map[string]int{}}}
	var disk *node.Disk
	if *kind != "" {
		if disk, err = node.NewDisk(*kind, work); err != nil {
			fatal(err)
		}
		p.work = disk.Mount
	}
	began := time.Now()
	if err = p.run(*kills, *megabytes); err == nil && *kind == "xfs" && p.sum.Shared == 0 {
		err = errors.New("no evidence shares blocks with what it was taken from; is there no filefrag?")
	}
	p.sum.Seconds = time.Since(began).Seconds()
	line, _ := json.Marshal(p.sum)
	fmt.Println(string(line))
	if err != nil {
		fatal(fmt.Errorf("%w (data kept in %s)", err, p.work))
	}
	if disk != nil {
		err = disk.Detach()
	}
	if err = errors.Join(err, os.RemoveAll(work)); err != nil {
		fatal(err)
	}
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, "applykill: FAILED:", err)
	os.Exit(1)
}

// run makes the directories, and spreads the kills over them and over apply and undo.
func (p *program) run(kills, megabytes int) error {
	p.traced, p.sum.How = canTrace(p.bin), "moments"
	if p.traced {
		p.sum.How = "system calls"
	}
	if err := p.fill(megabytes); err != nil {
		return err
	}
	for i := range damages {
		d := &damages[i]
		r, err := p.plan(d)
		if err != nil {
			return fmt.Errorf("%s: %w", d.name, err)
		}
		share := kills / len(damages)
		if i < kills%len(damages) {
			share++
		}
		if err := r.kill(share); err != nil {
			return fmt.Errorf("%s: %w", d.name, err)
		}
		if err := r.close(); err != nil {
			return err
		}
	}
	return nil
}

// damage is one way to spoil a directory, and the verb that mends it.
type damage struct {
	name string
	do   func(dir string) error
	verb []string
}

var damages = []damage{
	{"journal block", func(dir string) error { return flipRecord(filepath.Join(dir, "wal")) }, []string{"repair", "plan"}},
	{"checkpoint", func(dir string) error {
		return errors.Join(os.Remove(filepath.Join(dir, "wal", "checkpoint.0")), os.Remove(filepath.Join(dir, "wal", "checkpoint.1")))
	}, []string{"repair", "plan"}},
	{"journal", func(dir string) error { return os.RemoveAll(filepath.Join(dir, "wal")) }, []string{"repair", "plan"}},
	{"hard state", func(dir string) error {
		return errors.Join(os.Remove(filepath.Join(dir, "raft", "hardstate.0")), os.Remove(filepath.Join(dir, "raft", "hardstate.1")))
	}, []string{"repair", "plan"}},
	{"indexes", func(dir string) error { return emptyFiles(filepath.Join(dir, "topics", "*", "*index")) }, []string{"log", "reindex"}},
	{"cut of a partition", func(string) error { return nil }, []string{"wal", "truncate", "--partition", topic + "-0", "--offset", "50"}},
}

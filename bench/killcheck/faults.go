package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// The faults of a disk that goes on, for --fault. What the node must do about each is in docs/: nothing is lost in any case.
const (
	faultFull      = "full"      // ext4, xfs: another program fills the file system in mid-load, and later gives the room back
	faultNoSpace   = "enospc"    // fuse: writes and new files fail with ENOSPC
	faultWrite     = "eio-write" // fuse: writes fail with EIO
	faultSync      = "eio-sync"  // fuse: syncs fail with EIO
	faultRead      = "eio-read"  // fuse: reads fail with EIO
	faultReadBoot  = "eio-start" // fuse: reads fail with EIO, sometimes, while the node starts
	faultSlow      = "slow"      // fuse: syncs, and writes that sync, take 50 to 2000 ms
	faultShort     = "short"     // fuse: writes are done in part
	faultAll       = "all"       // fuse: one after the other
	refuseDirect   = "refuse"    // --direct: opening a file for direct I/O fails, as on file systems without it
	refuseAtWrite  = "late"      // --direct: the flag is accepted and the write refused, as some do
	acceptDirect   = "accept"    // --direct
	reasonOfAnEIO  = "input/output error"
	reasonOfNoRoom = "no space left on device"
)

// fuseFaults is what --fault all goes through.
var fuseFaults = []string{faultWrite, faultSync, faultRead, faultReadBoot, faultSlow, faultNoSpace, faultShort}

// places are the parts of a data directory that a fault is confined to, by turns; empty is all of it.
var places = []string{"", "/wal/", "/topics/", "/raft/"}

// failing is a disk that fails from fail to heal, which returns how many calls were hit.
type failing interface {
	fail(fault, where string, seed uint64) error
	heal() (hits int, err error)
	detach() error
}

// outcomes counts what became of the rounds of one fault.
type outcomes struct {
	rounds, hits, ended, wentOn, mended int
}

// hit is one round with a disk that fails for a while.
type hit struct {
	fault, where string
	count        int    // calls that failed, or were slow
	ended        bool   // the node ended by itself
	reason       string // its last words
	verify       int    // exit code of wal verify; -1: not run
	mended       bool   // partitions were stopped, and repair plan --apply brought them back without loss
	took         time.Duration
}

// faultRound lets the disk fail under load, gives it back, and sees to it that the node goes on, or ended with the reason and starts again.
func (p *program) faultRound(ctx context.Context, round int, readBack bool) error {
	fault := p.fault
	if fault == faultAll {
		fault = fuseFaults[(round-1)%len(fuseFaults)]
	}
	h := &hit{fault: fault, where: places[p.rng.IntN(len(places))], verify: -1}
	if h.where == "/raft/" && fault != faultReadBoot {
		h.where = "/topics/" // Raft is idle between two starts
	}
	if p.where != "" {
		h.where = p.where
	}
	time.Sleep(time.Duration(100+p.rng.IntN(700)) * time.Millisecond)
	before, err := p.raft(ctx)
	if err != nil {
		return err
	}
	acked := p.ledger.ackedCount()
	if err := p.strike(h); err != nil {
		return err
	}
	if !h.ended && fault == faultReadBoot { // with the disk still failing
		if err := p.stumble(h); err != nil {
			return err
		}
	}
	if h.count, err = p.failing.heal(); err != nil {
		return err
	}
	if err := p.settle(ctx, h, before); err != nil {
		return fmt.Errorf("%s on %q: %w", h.fault, h.where, err)
	}
	fmt.Printf(`{"round":%d,"fault":%q,"where":%q,"hits":%d,"acked_before":%d,"acked":%d,"ended":%t,"repaired":%t,"verify":%d,"back_ms":%d,"reason":%q}`+"\n",
		round, h.fault, h.where, h.count, acked, p.ledger.ackedCount(), h.ended, h.mended, h.verify, h.took.Milliseconds(), h.reason)
	p.count(h)
	if !readBack {
		return nil
	}
	return p.readBack(ctx, true)
}

// strike lets the disk fail and the load run for a while.
func (p *program) strike(h *hit) error {
	hold := time.Duration(300+p.rng.IntN(1500)) * time.Millisecond
	if h.fault == faultSlow || h.fault == faultFull || h.where == "/topics/" { // until a checkpoint, or the full disk, is noticed
		hold += 3 * time.Second
	}
	if h.fault == faultReadBoot {
		if err := p.node.Kill(); err != nil {
			return err
		}
		return p.failing.fail(h.fault, h.where, p.rng.Uint64())
	}
	if err := p.failing.fail(h.fault, h.where, p.rng.Uint64()); err != nil {
		return err
	}
	h.ended, h.reason = p.node.Ended(hold)
	return nil
}

// stumble starts the node on a disk whose reads fail now and then: it starts, or says why not.
func (p *program) stumble(h *hit) error {
	_, err := p.node.Start()
	if err != nil {
		h.ended, h.reason = true, err.Error()
	}
	return nil
}

// settle is the time after the disk came back.
func (p *program) settle(ctx context.Context, h *hit, before *raftState) error {
	began := time.Now()
	defer func() { h.took = time.Since(began) }()
	if !h.ended && h.count > 0 && h.fault == faultWrite { // a partition whose file cannot be written is stopped, by name, and the node goes on
		return p.mend(h)
	}
	if !h.ended {
		if err := p.goesOn(h); err != nil {
			return err
		}
	}
	if !h.ended {
		return p.expected(h)
	}
	if err := p.expected(h); err != nil {
		return err
	}
	code, out := p.node.Verify()
	if h.verify = code; code != 0 && code != 4 {
		return fmt.Errorf("wal verify exits %d after the node ended (%s):\n%s", code, h.reason, out)
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
	if r := after.Recovered; h.fault == faultReadBoot && r != nil && r.Term > before.Term { // the start that failed had campaigned
		before.Term, before.Vote = r.Term, r.Vote
	}
	return sameRaft(before, after)
}

// mend ends the node and repairs what it stopped: that must cost nothing, for the journal holds what the partition files lack.
func (p *program) mend(h *hit) error {
	if h.ended, h.reason = p.node.Ended(500 * time.Millisecond); !h.ended {
		if err := p.node.Kill(); err != nil {
			return err
		}
	}
	var out string
	if h.verify, out = p.node.Verify(); h.verify != 0 && h.verify != 4 {
		plan, err := exec.Command(p.node.Bin, "repair", "plan", "--dir", p.node.Dir, "--apply").CombinedOutput()
		if err != nil {
			return fmt.Errorf("wal verify exits %d:\n%s\nand repair plan --apply: %w:\n%s", h.verify, out, err, plan)
		}
		h.mended = true
	}
	took, err := p.node.Start()
	p.starts = append(p.starts, took)
	return err
}

// goesOn waits until producers are answered again, or the node ends after all.
func (p *program) goesOn(h *hit) error {
	began, acked := time.Now(), p.ledger.ackedCount()
	for p.ledger.ackedCount() < acked+100 {
		if h.ended, h.reason = p.node.Ended(100 * time.Millisecond); h.ended {
			return nil
		}
		if time.Since(began) > 2*time.Minute {
			return fmt.Errorf("the disk is well again and no producer was answered for %v", time.Since(began))
		}
	}
	return nil
}

// expected compares what the node did with docs/ and the design: it never goes on after a failed write or sync of its journal, it says why
// it ends, and it does not end of what is no failure.
func (p *program) expected(h *hit) error {
	journal := h.where == "/wal/" || h.where == ""
	switch {
	case !h.ended && h.count > 0 && (h.fault == faultSync || journal && h.fault == faultWrite):
		return fmt.Errorf("%d calls failed, and the node went on", h.count)
	case !h.ended:
		return nil
	case h.fault == faultSlow:
		return fmt.Errorf("the node ended of a slow disk: %s", h.reason)
	case h.fault == faultFull || h.fault == faultNoSpace:
		if !strings.Contains(h.reason, reasonOfNoRoom) {
			return fmt.Errorf("the node ended, and its last words do not say that there was no room: %s", h.reason)
		}
	case h.fault != faultShort && !strings.Contains(h.reason, reasonOfAnEIO):
		return fmt.Errorf("the node ended, and its last words do not name the I/O error: %s", h.reason)
	}
	return nil
}

func (p *program) count(h *hit) {
	if p.outcomes == nil {
		p.outcomes = map[string]*outcomes{}
	}
	o := p.outcomes[h.fault]
	if o == nil {
		o = &outcomes{}
		p.outcomes[h.fault] = o
	}
	o.rounds++
	o.hits += h.count
	switch {
	case h.ended:
		o.ended++
	case h.mended:
		o.mended++
	default:
		o.wentOn++
	}
}

// summary prints what became of each fault.
func (p *program) summary() {
	for _, fault := range append(fuseFaults, faultFull) {
		if o := p.outcomes[fault]; o != nil {
			fmt.Printf("killcheck: %s: %d rounds, %d calls hit; the node went on %d times, ended with the reason and started again %d times, stopped partitions that repair brought back whole %d times\n",
				fault, o.rounds, o.hits, o.wentOn, o.ended, o.mended)
		}
	}
}

// checkFault refuses combinations that do nothing.
func checkFault(disk, fault string) error {
	onFuse := disk == "fuse"
	switch {
	case fault == "" && !onFuse:
		return nil
	case fault == "":
		return errors.New("--disk fuse needs --fault")
	case fault == faultFull && (disk == "ext4" || disk == "xfs"):
		return nil
	case fault == faultAll && onFuse:
		return nil
	}
	for _, f := range fuseFaults {
		if onFuse && f == fault {
			return nil
		}
	}
	return fmt.Errorf("--fault %s --disk %s: %s is for ext4 and xfs; %v and %s are for fuse", fault, disk, faultFull, fuseFaults, faultAll)
}

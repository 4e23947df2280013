package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"chronik.dev/chronik/bench/node"
)

// Exit codes of chronik.
const (
	exitRefused  = 7
	exitNotFound = 12
)

// repair is a plan for a damaged directory, with what it comes to when nobody kills it.
type repair struct {
	p               *program
	base, done      string // the damaged directory, and one to which the plan was applied
	file, id        string // of the plan
	accept          []string
	before, after   string // hashes of the trees
	applied, undone length // of the whole commands
}

// length is how long a command is.
type length struct {
	calls int
	time  time.Duration
}

// plan damages a copy of the directory, makes the plan, and sees what it comes to: a directory that verifies clean and starts a node, and after
// undo the same tree as before.
func (p *program) plan(d *damage) (*repair, error) {
	name := strings.ReplaceAll(d.name, " ", "-")
	r := &repair{p: p, base: filepath.Join(p.work, name), done: filepath.Join(p.work, name+"-done"), file: filepath.Join(p.work, name+".json")}
	if err := errors.Join(copyTree(p.node.Dir, r.base), d.do(r.base)); err != nil {
		return nil, err
	}
	out, err := exec.Command(p.bin, append(d.verb, "--dir", r.base, "--plan-out", r.file, "-o", "json")...).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("make the plan: %w: %s", err, out)
	}
	var made struct {
		Data struct {
			Plan struct {
				ID          string   `json:"id"`
				LossTotal   int64    `json:"lossTotal"`
				NeedsAccept []string `json:"needsAccept"`
			} `json:"plan"`
		} `json:"data"`
	}
	if err := json.Unmarshal(out, &made); err != nil || made.Data.Plan.ID == "" {
		return nil, fmt.Errorf("the plan has no id (%v): %s", err, out)
	}
	r.id = made.Data.Plan.ID
	if n := made.Data.Plan.LossTotal; len(made.Data.Plan.NeedsAccept) > 0 && n < 0 {
		r.accept = []string{"--accept-loss", "unknown"}
	} else if len(made.Data.Plan.NeedsAccept) > 0 {
		r.accept = []string{"--accept-loss", fmt.Sprint(n)}
	}
	return r, r.measure(d)
}

// measure runs the commands without a kill.
func (r *repair) measure(d *damage) (err error) {
	if r.before, err = hashTree(r.base); err != nil {
		return err
	}
	if err := copyTree(r.base, r.done); err != nil {
		return err
	}
	if r.applied, err = r.whole(r.apply(r.done)); err != nil {
		return err
	}
	if r.after, err = hashTree(r.done); err != nil {
		return err
	}
	if r.after == r.before {
		return errors.New("the plan changes nothing")
	}
	r.p.sum.Shared += sharedFiles(filepath.Join(r.done, "repairs"))
	test := r.done + "-test"
	defer os.RemoveAll(test)
	if err := copyTree(r.done, test); err != nil {
		return err
	}
	if r.undone, err = r.whole(r.undo(test)); err != nil {
		return err
	}
	if r.p.traced {
		r.p.sum.Calls["apply, "+d.name], r.p.sum.Calls["undo, "+d.name] = r.applied.calls, r.undone.calls
	}
	if err := r.is(test, r.before); err != nil {
		return fmt.Errorf("after undo: %w", err)
	}
	return r.serves(test)
}

// serves says whether what the plan makes verifies clean, and a node starts on it; what is in the directory now is replaced.
func (r *repair) serves(dir string) error {
	if err := errors.Join(os.RemoveAll(dir), copyTree(r.done, dir)); err != nil {
		return err
	}
	listen, err := node.FreeAddress()
	if err != nil {
		return err
	}
	n := &node.Node{Bin: r.p.bin, Dir: dir, Listen: listen, Settings: r.p.node.Settings}
	if code, out := n.Verify(); code != 0 {
		return fmt.Errorf("wal verify after the repair: exit %d: %s", code, out)
	}
	if _, err := n.Start(); err != nil {
		return fmt.Errorf("after the repair: %w", err)
	}
	return n.Stop()
}

func (r *repair) apply(dir string) []string {
	return append(append([]string{"repair", "apply", "--dir", dir}, r.accept...), r.file)
}

func (r *repair) undo(dir string) []string { return []string{"repair", "undo", "--dir", dir, r.id} }

// whole runs a command to its end and measures it.
func (r *repair) whole(args []string) (l length, err error) {
	began := time.Now()
	if r.p.traced {
		l.calls, _, err = killAtCall(0, r.p.bin, args...)
	} else {
		_, err = r.p.chronik(args...)
	}
	l.time = time.Since(began)
	return l, err
}

// kill spreads n kills over apply and undo, a third of them over undo.
func (r *repair) kill(n int) error {
	undos := n / 3
	for i := range n - undos {
		r.p.sum.ApplyKills++
		if err := r.killed(r.base, r.apply, r.applied, i, n-undos); err != nil {
			return fmt.Errorf("kill %d of %d of apply: %w", i+1, n-undos, err)
		}
	}
	for i := range undos {
		r.p.sum.UndoKills++
		if err := r.killed(r.done, r.undo, r.undone, i, undos); err != nil {
			return fmt.Errorf("kill %d of %d of undo: %w", i+1, undos, err)
		}
	}
	return nil
}

// killed runs one command on a copy of a directory, kills it, and judges what is left. i of n says where: evenly spread.
func (r *repair) killed(from string, command func(string) []string, l length, i, n int) error {
	dir := filepath.Join(r.p.work, "killed")
	if err := copyTree(from, dir); err != nil {
		return err
	}
	killed, err := r.p.runKilled(command(dir), l, i, n)
	if err != nil {
		return err
	}
	r.p.sum.Kills++
	if !killed {
		r.p.sum.Ended++
	}
	if err := r.judge(dir); err != nil {
		return err
	}
	if from == r.base && i%2 == 0 { // the same command finishes it
		if out, err := r.p.chronik(r.apply(dir)...); err != nil {
			return fmt.Errorf("the same command again: %w: %s", err, out)
		}
		if err := r.is(dir, r.after); err != nil {
			return fmt.Errorf("finished by the same command: %w", err)
		}
		r.p.sum.Finished++
	}
	if out, err := r.p.chronik(r.undo(dir)...); err != nil && exitCode(err) != exitNotFound { // not found: it had not begun
		return fmt.Errorf("undo: %w: %s", err, out)
	}
	if err := r.is(dir, r.before); err != nil {
		return fmt.Errorf("after undo: %w", err)
	}
	r.p.sum.Undone++
	return os.RemoveAll(dir)
}

// judge looks at what a kill left: between the two trees no node may start.
func (r *repair) judge(dir string) error {
	tree, err := hashTree(dir)
	switch {
	case err != nil:
		return err
	case tree == r.before:
		r.p.sum.Old++
		return nil
	case tree == r.after:
		r.p.sum.New++
		return nil
	}
	r.p.sum.Between++
	out, err := r.p.chronik("serve", "--data-dir", dir, "--listen", "127.0.0.1:0", "--admin-listen", "", "--peer-listen", "")
	if exitCode(err) != exitRefused {
		return fmt.Errorf("a node was not refused with %d on a directory between two states: %v: %s", exitRefused, err, out)
	}
	if now, err := hashTree(dir); err != nil || now != tree {
		return errors.Join(errors.New("the start that was refused changed the directory"), err)
	}
	r.p.sum.Refused++
	return nil
}

func (r *repair) is(dir, want string) error {
	tree, err := hashTree(dir)
	if err == nil && tree != want {
		err = errors.New("another tree than it must be")
	}
	return err
}

func (r *repair) close() error { return errors.Join(os.RemoveAll(r.base), os.RemoveAll(r.done)) }

// chronik runs a command to its end, a minute at most.
func (p *program) chronik(args ...string) (string, error) {
	cmd := exec.Command(p.bin, args...)
	end := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer end.Stop()
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// runKilled runs a command and kills it at the place that i of n stands for.
func (p *program) runKilled(args []string, l length, i, n int) (killed bool, err error) {
	if p.traced {
		at := 1 + (i*l.calls+p.rng.IntN(l.calls))/n
		_, killed, err := killAtCall(min(at, l.calls), p.bin, args...)
		return killed, err
	}
	cmd := exec.Command(p.bin, args...)
	if err := cmd.Start(); err != nil {
		return false, err
	}
	time.Sleep(l.time * time.Duration(i*1000+p.rng.IntN(1000)) / time.Duration(n*1000))
	_ = cmd.Process.Kill() // unless it has ended
	err = cmd.Wait()
	return err != nil, nil
}

func exitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return -1
}

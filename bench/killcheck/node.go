package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// node runs one `chronik serve` process on fixed loopback ports.
type node struct {
	bin, dir      string
	listen, admin string
	settings      []string
	env           []string
	log           *os.File
	cmd           *exec.Cmd
	exited        chan error
}

// freeAddr returns a loopback address that nobody listens on.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// start runs the broker and waits for its ready line; it returns how long that took.
func (n *node) start() (time.Duration, error) {
	args := []string{"serve", "--data-dir", n.dir, "--listen", n.listen, "--admin-listen", n.admin}
	for _, s := range n.settings {
		args = append(args, "--set", s)
	}
	n.cmd = exec.Command(n.bin, args...)
	n.cmd.Env = append(os.Environ(), n.env...)
	stderr, err := n.cmd.StderrPipe()
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if err := n.cmd.Start(); err != nil {
		return 0, err
	}
	ready := make(chan struct{})
	go func() {
		lines := bufio.NewScanner(stderr)
		seen := false
		for lines.Scan() {
			fmt.Fprintln(n.log, lines.Text())
			if !seen && strings.HasPrefix(lines.Text(), "ready: ") {
				seen = true
				close(ready)
			}
		}
		_, _ = io.Copy(n.log, stderr)
	}()
	n.exited = make(chan error, 1)
	go func() { n.exited <- n.cmd.Wait() }()
	select {
	case <-ready:
		return time.Since(began), nil
	case err := <-n.exited:
		return 0, fmt.Errorf("the node ended before it was ready: %v; see %s", err, n.log.Name())
	case <-time.After(60 * time.Second):
		return 0, errors.Join(fmt.Errorf("not ready after 60 s; see %s", n.log.Name()), n.kill())
	}
}

func (n *node) kill() error {
	if err := n.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-n.exited
	return nil
}

// stop ends the node with SIGTERM, which must give exit code 0.
func (n *node) stop() error {
	if err := n.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case err := <-n.exited:
		return err
	case <-time.After(60 * time.Second):
		return errors.Join(errors.New("SIGTERM did not end the node in 60 s"), n.kill())
	}
}

// verify runs `chronik wal verify` on the stopped node's directory and returns its exit code and output.
func (n *node) verify(extra ...string) (int, string) {
	out, err := exec.Command(n.bin, append([]string{"wal", "verify", n.dir}, extra...)...).CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0, string(out)
	case errors.As(err, &exit):
		return exit.ExitCode(), string(out)
	}
	return -1, err.Error()
}

// raftState is what the admin endpoint says of Raft; Recovered is what the disk held at this start, before the node campaigned.
type raftState struct {
	Term      uint64         `json:"term"`
	Vote      uint64         `json:"vote"`
	Commit    uint64         `json:"commit"`
	Applied   uint64         `json:"applied"`
	LastIndex uint64         `json:"last_index"`
	ConfState string         `json:"conf_state"`
	Recovered *raftRecovered `json:"recovered"`
}

type raftRecovered struct {
	Term      uint64 `json:"term"`
	Vote      uint64 `json:"vote"`
	Commit    uint64 `json:"commit"`
	LastIndex uint64 `json:"last_index"`
	ConfState string `json:"conf_state"`
}

func (n *node) raft(ctx context.Context) (*raftState, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.admin+"/admin/v1/raft", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("admin endpoint: %s", resp.Status)
	}
	var answer struct {
		Data raftState `json:"data"`
	}
	return &answer.Data, json.NewDecoder(resp.Body).Decode(&answer)
}

// sameRaft says what of the Raft state that was seen before a kill is not there after it.
func sameRaft(before, after *raftState) error {
	if after.Recovered == nil {
		return errors.New("the node does not say what it recovered of Raft")
	}
	r := after.Recovered
	switch {
	case r.Term != before.Term:
		return fmt.Errorf("term was %d before the kill, %d after it", before.Term, r.Term)
	case r.Vote != before.Vote:
		return fmt.Errorf("vote was %d before the kill, %d after it", before.Vote, r.Vote)
	case r.LastIndex < before.LastIndex || after.Commit < before.Commit: // a commit alone is not synced: the log is, and commits again
		return fmt.Errorf("commit %d and last index %d before the kill, %d and %d after it", before.Commit, before.LastIndex, after.Commit, r.LastIndex)
	case r.ConfState != before.ConfState:
		return fmt.Errorf("ConfState was %s before the kill, %s after it", before.ConfState, r.ConfState)
	}
	return nil
}

// Package node runs `chronik serve` as a process of its own, for the programmes that kill it.
//
// The idea: one way to start, kill, stop and verify a node, so that every programme judges the same thing. The guarantee: Start returns when the
// node has said that it is ready, and after an error of Start, Kill or Stop no process is left. The API: Node with its fields set, then
// its methods, from one goroutine.
package node

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// patience is how long a node may take to be ready, or to end after SIGTERM.
const patience = time.Minute

// Node is one `chronik serve` on fixed loopback ports.
type Node struct {
	Bin, Dir      string
	Listen, Admin string   // addresses; an empty Admin is no listener. There is no peer listener.
	Settings      []string // KEY=VALUE
	Env           []string // besides this process's
	Log           *os.File // what the node says; nil: only what an error repeats

	cmd    *exec.Cmd
	exited chan error
}

// SmallFiles are settings with which every kind of work is soon under way: rolls, journal segments, checkpoints.
var SmallFiles = []string{"log.segment.bytes=1048576", "chronik.journal.segment.bytes=1048576", "chronik.checkpoint.bytes=4194304"}

// FreeAddress returns a loopback address that nobody listens on.
func FreeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// Start runs the node and waits for its ready line; it returns how long that took.
func (n *Node) Start() (time.Duration, error) {
	args := []string{"serve", "--data-dir", n.Dir, "--listen", n.Listen, "--admin-listen", n.Admin, "--peer-listen", ""}
	for _, s := range n.Settings {
		args = append(args, "--set", s)
	}
	n.cmd = exec.Command(n.Bin, args...)
	n.cmd.Env = append(os.Environ(), n.Env...)
	stderr, err := n.cmd.StderrPipe()
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if err := n.cmd.Start(); err != nil {
		return 0, err
	}
	ready, said := make(chan struct{}), make(chan string, 1)
	go n.listen(stderr, ready, said)
	n.exited = make(chan error, 1)
	go func(cmd *exec.Cmd, exited chan error) {
		last := <-said // before Wait, which closes the pipe
		if err := cmd.Wait(); err != nil {
			exited <- fmt.Errorf("%w; its last words: %s", err, last)
			return
		}
		exited <- nil
	}(n.cmd, n.exited)
	select {
	case <-ready:
		return time.Since(began), nil
	case err := <-n.exited:
		return 0, fmt.Errorf("%s ended before it was ready: %v", n.Bin, err)
	case <-time.After(patience):
		return 0, errors.Join(fmt.Errorf("%s is not ready after %v", n.Bin, patience), n.Kill())
	}
}

// listen reads what the node says until it ends, and hands over the last line.
func (n *Node) listen(stderr io.Reader, ready chan<- struct{}, said chan<- string) {
	lines := bufio.NewScanner(stderr)
	last, seen := "", false
	for lines.Scan() {
		last = lines.Text()
		if n.Log != nil {
			fmt.Fprintln(n.Log, last)
		}
		if !seen && strings.HasPrefix(last, "ready: ") {
			seen = true
			close(ready)
		}
	}
	_, _ = io.Copy(io.Discard, stderr) // behind a line that is too long
	said <- last
}

// Kill ends the node with SIGKILL. os.ErrProcessDone: it had ended by itself.
func (n *Node) Kill() error {
	if err := n.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-n.exited
	return nil
}

// Ended waits for the node to end by itself, for d at most, and says why it did: its exit status and last words. After true the node is gone: call
// Start next, not Kill or Stop.
func (n *Node) Ended(d time.Duration) (ended bool, why string) {
	select {
	case err := <-n.exited:
		if err == nil {
			return true, "exit code 0"
		}
		return true, err.Error()
	case <-time.After(d):
		return false, ""
	}
}

// Stop ends the node with SIGTERM, which must give exit code 0.
func (n *Node) Stop() error {
	if err := n.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case err := <-n.exited:
		return err
	case <-time.After(patience):
		return errors.Join(fmt.Errorf("SIGTERM did not end the node in %v", patience), n.Kill())
	}
}

// Verify runs `chronik wal verify` on the stopped node's directory and returns its exit code and output; -1 if it could not be run.
func (n *Node) Verify(extra ...string) (int, string) {
	out, err := exec.Command(n.Bin, append([]string{"wal", "verify", n.Dir}, extra...)...).CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0, string(out)
	case errors.As(err, &exit):
		return exit.ExitCode(), string(out)
	}
	return -1, err.Error()
}

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"sync"
	"time"
)

// store is what is compared: it writes the data set into an empty directory, calling half after half of it, and starts on a directory. write
// returns how to close it cleanly. An error of start is a refusal.
type store interface {
	write(dir string, half func() error) (closer func() error, err error)
	start(dir string) (*seen, error)
}

// stores are the systems that start in this process. Each is started in a child, which may die or hang of what it reads.
var stores = map[string]store{"chronik": node{}, "etcd WAL": etcdWAL{}, "hashicorp/raft-wal": hashicorpWAL{}, "pebble": pebbleDB{}}

// answer is what a child says of one start.
type answer struct {
	Outcome outcome `json:"outcome"`
	Text    string  `json:"text"`
	Verify  string  `json:"verify"`
	Last    bool    `json:"last"` // the child ends with it
}

// say writes one answer on stdout, which carries nothing else.
func say(a answer) {
	line, _ := json.Marshal(a) // strings only
	fmt.Println(string(line))
}

// serve is the child: a directory per line in, an answer per line out.
func serve(name string) error {
	debug.SetPanicOnFault(true)
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		say(one(stores[name], in.Text()))
	}
	return in.Err()
}

func one(s store, dir string) (a answer) {
	defer func() {
		if p := recover(); p != nil {
			a = answer{Outcome: crashed, Text: fmt.Sprintf("panic: %.300v", p)}
		}
	}()
	got, err := s.start(dir)
	if got != nil {
		a.Verify = got.verify
	}
	if err != nil {
		a.Outcome, a.Text = refused, err.Error()
		return a
	}
	a.Outcome, a.Text = got.judge()
	return a
}

// child is a running worker.
type child struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  chan answer
	said *lines
}

func startChild(name string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{cmd: exec.Command(self, "worker", name), out: make(chan answer), said: &lines{}}
	c.cmd.Stderr = c.said
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(c.out)
		for in := bufio.NewReader(stdout); ; {
			line, err := in.ReadBytes('\n')
			if err != nil {
				return
			}
			var a answer
			if json.Unmarshal(line, &a) == nil {
				c.out <- a
			}
		}
	}()
	return c, nil
}

// ask has the child start on a directory; alive says whether it can be asked again.
func (c *child) ask(dir string, patience time.Duration) (a answer, alive bool) {
	if _, err := fmt.Fprintln(c.in, dir); err != nil {
		return answer{Outcome: crashed, Text: err.Error()}, false
	}
	select {
	case a, ok := <-c.out:
		if !ok {
			_ = c.cmd.Wait()
			return answer{Outcome: crashed, Text: strings.Join(c.said.all(), " ")}, false
		}
		return a, !a.Last
	case <-time.After(patience):
		c.end()
		return answer{Outcome: hung, Text: fmt.Sprintf("no answer in %v", patience)}, false
	}
}

// end kills the child, which holds nothing that matters.
func (c *child) end() {
	_ = c.cmd.Process.Kill()
	for range c.out { // until it is gone
	}
	_ = c.cmd.Wait()
}

// lines keeps the first lines that are written to it.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

// Write implements io.Writer.
func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.text.Len() < 4096 {
		l.text.Write(p)
	}
	return len(p), nil
}

func (l *lines) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.FieldsFunc(l.text.String(), func(r rune) bool { return r == '\n' })
}

// prepare writes the data set and returns the directory as it was half-way, after the last acknowledgement, and after a clean close.
func prepare(s store, dir string) (half, killed, closed image, err error) {
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		return nil, nil, nil, err
	}
	closer, err := s.write(dir, func() (err error) { half, err = readImage(dir); return err })
	if err != nil {
		return nil, nil, nil, err
	}
	if killed, err = readImage(dir); err != nil {
		return nil, nil, nil, err
	}
	if err := closer(); err != nil {
		return nil, nil, nil, err
	}
	closed, err = readImage(dir)
	return half, killed, closed, err
}

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"chronik.dev/chronik/bench/node"
)

const (
	topic      = "load"
	partitions = 4
)

// fill makes the directory that is damaged: two lives of a node, the second killed with records that are in its journal only.
func (p *program) fill(megabytes int) error {
	listen, err := node.FreeAddress()
	if err != nil {
		return err
	}
	p.node = &node.Node{Bin: p.bin, Dir: filepath.Join(p.work, "data"), Listen: listen, Settings: append(slices.Clone(node.SmallFiles), "chronik.journal.max.bytes=8388608")}
	if _, err := p.node.Start(); err != nil {
		return err
	}
	if err := errors.Join(p.load(megabytes), p.node.Stop()); err != nil {
		return err
	}
	if _, err := p.node.Start(); err != nil {
		return err
	}
	return errors.Join(p.load(0), p.node.Kill())
}

// load produces batches of 16 KiB, about so many megabytes and a few batches more.
func (p *program) load(megabytes int) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(p.node.Listen), kgo.DefaultProduceTopic(topic), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerBatchMaxBytes(16<<10))
	if err != nil {
		return err
	}
	defer cl.Close()
	if _, err := kadm.NewClient(cl).CreateTopic(ctx, partitions, 1, nil, topic); err != nil && !strings.Contains(err.Error(), "TOPIC_ALREADY_EXISTS") {
		return err
	}
	filler := make([]byte, 1000)
	for i := range megabytes*1000 + 200 {
		for at := range filler {
			filler[at] = 'a' + byte(p.rng.IntN(26))
		}
		value := append([]byte(mark), filler...)
		cl.Produce(ctx, &kgo.Record{Partition: int32(i % partitions), Value: value}, func(_ *kgo.Record, e error) {
			if e != nil {
				cancel()
			}
		})
	}
	return cl.Flush(ctx)
}

// mark begins every value.
const mark = "applykill-value-"

// flipRecord changes a byte of the first record in the newest journal segment that has one.
func flipRecord(wal string) error {
	names, err := filepath.Glob(filepath.Join(wal, "*.wal"))
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, name := range slices.Backward(names) {
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if at := bytes.Index(b, []byte(mark)); at >= 0 {
			b[at+len(mark)] ^= 0x80
			return os.WriteFile(name, b, 0o644)
		}
	}
	return fmt.Errorf("no segment in %s holds a record", wal)
}

// emptyFiles cuts files to nothing.
func emptyFiles(pattern string) error {
	names, err := filepath.Glob(pattern)
	if err == nil && len(names) == 0 {
		err = fmt.Errorf("no file is named %s", pattern)
	}
	for _, name := range names {
		err = errors.Join(err, os.Truncate(name, 0))
	}
	return err
}

// copyTree copies a directory in place of what is there, holes and all. On a disk that shares blocks the copy shares none: those of evidence shall show.
func copyTree(from, to string) error {
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	args := []string{"-R", "-p", from, to}
	if runtime.GOOS == "linux" {
		args = append([]string{"--reflink=never"}, args...)
	}
	if out, err := exec.Command("cp", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("copy %s: %w: %s", from, err, out)
	}
	return nil
}

// hashTree is the SHA-256 of names and contents of everything but repairs/, which holds what a repair keeps.
func hashTree(dir string) (string, error) {
	h := sha256.New()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, dir)
		if name == string(filepath.Separator)+"repairs" {
			return filepath.SkipDir
		}
		fmt.Fprintf(h, "%q %t\n", name, d.IsDir())
		if d.IsDir() {
			return nil
		}
		b, err := os.ReadFile(path)
		fmt.Fprintln(h, len(b))
		h.Write(b)
		return err
	})
	return fmt.Sprintf("%x", h.Sum(nil)), err
}

// sharedFiles counts the files below a directory that share blocks with another file, where filefrag can tell.
func sharedFiles(dir string) (n int) {
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error { // what cannot be read is not counted
		if err == nil && d.Type().IsRegular() {
			if out, err := exec.Command("filefrag", "-v", path).Output(); err == nil && bytes.Contains(out, []byte("shared")) {
				n++
			}
		}
		return nil
	})
	return n
}

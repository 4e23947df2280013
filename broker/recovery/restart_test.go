package recovery

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/partition"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
)

var (
	restartMiB = flag.Int64("restart.mib", 8, "MiB of journal behind the checkpoint in TestRestart")
	restartDir = flag.String("restart.dir", "", "parent of TestRestart's directory; empty: the test's own")
)

// TestRestart boots a directory of the host's disk with that much journal behind its checkpoint and reports time and memory.
func TestRestart(t *testing.T) {
	parent := *restartDir
	if parent == "" {
		parent = t.TempDir()
	}
	dir, err := os.MkdirTemp(parent, "restart")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	pool := partition.NewPool(0)
	defer pool.Close()
	open := func(founding bool) *Result {
		r, err := Boot(Options{
			FS: vfs.OS, Dir: dir, DirID: [16]byte{1}, Founding: founding,
			Env: &partition.Env{Pool: pool, Now: func() int64 { return time.Now().UnixMilli() }},
		})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	r := open(true)
	env := &partition.Env{FS: vfs.OS, Dir: dir + "/topics", Journal: r.Log, Pool: pool, Now: func() int64 { return time.Now().UnixMilli() }}
	const parts, size = 20, 16 << 10
	var logs []*partition.Log
	for i := range int32(parts) {
		l, err := partition.Create(env, partition.Identity{Topic: "t", ID: [16]byte{9}, Partition: i, RaftIndex: 1}, partition.DefaultConfig())
		if err != nil {
			t.Fatal(err)
		}
		logs = append(logs, l)
	}
	b := batch.NewBuilder(batch.None)
	b.Append(time.Now().UnixMilli(), nil, make([]byte, size), nil)
	raw, err := b.Bytes(0, 0, -1, -1, -1)
	if err != nil {
		t.Fatal(err)
	}
	n := int(*restartMiB << 20 / int64(len(raw)))
	var waiting sync.WaitGroup
	for i := range n {
		waiting.Add(1)
		logs[i%parts].Append(raw, partition.AppendInfo{}, func(_ partition.Appended, err error) {
			if err != nil {
				t.Error(err)
			}
			waiting.Done()
		})
	}
	waiting.Wait()
	if err := r.Log.Close(); err != nil { // the files are left as the flusher left them: kill -9
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	started := time.Now()
	again := open(false)
	took := time.Since(started)
	runtime.ReadMemStats(&after)
	t.Logf("%d MiB of journal: %v to serving, %d MiB allocated, %d MiB of heap", *restartMiB, took.Round(time.Millisecond),
		(after.TotalAlloc-before.TotalAlloc)>>20, (after.HeapSys)>>20)
	total := int64(0)
	for _, l := range again.Partitions {
		total += l.HighWatermark()
	}
	if total != int64(n) {
		t.Fatalf("%d records, want %d", total, n)
	}
	if v := again.Report.Worst(); v != wal.Notice {
		t.Fatal(fmt.Sprint(v))
	}
	if err := again.Log.Close(); err != nil {
		t.Fatal(err)
	}
}

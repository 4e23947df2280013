package kafka

import (
	"encoding/binary"
	"io"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik.dev/chronik/broker/vfs"
)

// counting is a listener whose connections count their calls. Each call is at least one system call.
type counting struct {
	net.Listener
	reads, writes atomic.Int64
}

func (c *counting) Accept() (net.Conn, error) {
	nc, err := c.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &countedConn{nc, c}, nil
}

type countedConn struct {
	net.Conn
	c *counting
}

func (c *countedConn) Read(b []byte) (int, error) {
	c.c.reads.Add(1)
	return c.Conn.Read(b)
}

func (c *countedConn) Write(b []byte) (int, error) {
	c.c.writes.Add(1)
	return c.Conn.Write(b)
}

// cost is what requests cost the node.
type cost struct {
	reads, writes                               int64  // of the connection
	fileReads, fileWrites, fileSyncs, fileOther int    // calls of the disk; a direct write syncs
	mallocs, bytes                              uint64 // on the heap, of the whole process, this test's client too
}

func (c cost) minus(d cost) cost {
	return cost{
		c.reads - d.reads, c.writes - d.writes, c.fileReads - d.fileReads, c.fileWrites - d.fileWrites, c.fileSyncs - d.fileSyncs,
		c.fileOther - d.fileOther, c.mallocs - d.mallocs, c.bytes - d.bytes,
	}
}

// meter measures a node, with the test's own client in it.
type meter struct {
	*node
	l    *counting
	disk *vfs.Faulty
}

func newMeter(t *testing.T) *meter {
	m := &meter{l: &counting{}, disk: vfs.NewFaulty(vfs.OS)}
	t.Chdir(t.TempDir()) // the node's directory is "data"
	m.node = startBehind(t, m.disk, func(l net.Listener) net.Listener { m.l.Listener = l; return m.l }, Options{},
		"chronik.checkpoint.interval.ms=3600000", "log.retention.check.interval.ms=3600000")
	return m
}

// now reads all counters.
func (m *meter) now() cost {
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	c := cost{
		reads: m.l.reads.Load(), writes: m.l.writes.Load(), fileReads: m.disk.Count(vfs.OpRead), fileWrites: m.disk.Count(vfs.OpWrite),
		fileSyncs: m.disk.Count(vfs.OpSync) + m.disk.Count(vfs.OpSyncFS) + m.disk.Count(vfs.OpSyncDir), mallocs: mem.Mallocs, bytes: mem.TotalAlloc,
	}
	c.fileOther = m.disk.Count(0) - c.fileReads - c.fileWrites - c.fileSyncs
	return c
}

// of runs n requests, one after the other, and returns what they cost together. What the node does in the background is in it.
func (m *meter) of(n int, request func()) cost {
	request() // pools and buffers are there afterwards
	before := m.now()
	for range n {
		request()
	}
	return m.now().minus(before)
}

// exchange sends a request as it is and reads the answer into a buffer that is used again.
func (p *peer) exchange(request, buffer []byte) {
	p.t.Helper()
	p.write(request)
	if _, err := io.ReadFull(p.nc, buffer[:4]); err != nil {
		p.t.Fatal(err)
	}
	if _, err := io.ReadFull(p.nc, buffer[:binary.BigEndian.Uint32(buffer)]); err != nil {
		p.t.Fatal(err)
	}
}

// TestCost: what one request costs in calls of the system and in memory does not creep up unnoticed. Requests go one after the other, so nothing
// is shared between them: under load a sync serves many.
func TestCost(t *testing.T) {
	if testing.Short() {
		t.Skip("the race detector's own allocations would count")
	}
	m := newMeter(t)
	id := m.create("t", 1)
	p := m.dial()
	buffer := make([]byte, 1<<20)
	request := func(key, version int16, req kmsg.Request) func() {
		raw := frame(key, version, 1, true, req.AppendTo(nil))
		return func() { p.exchange(raw, buffer) }
	}
	produce := request(keyProduce, 9, produceTo(9, "t", id, 0, -1, records(strings.Repeat("v", 1024))))
	for range 100 { // the journal leaves its first small segment, and prepares others
		produce()
	}
	time.Sleep(50 * time.Millisecond)

	const n = 200
	check := func(what string, c cost, fileReads, fileWrites int, mallocs, bytes uint64) {
		t.Helper()
		t.Logf("%-34s %+v", what, c)
		if c.reads != n || c.writes != n {
			t.Errorf("%s: %d reads and %d writes of the connection for %d requests", what, c.reads, c.writes, n)
		}
		if c.fileReads > n*fileReads || c.fileWrites > n*fileWrites+5 || c.fileSyncs > 5 || c.fileOther > 10 {
			t.Errorf("%s: %d reads, %d writes, %d syncs and %d other calls of the disk for %d requests", what, c.fileReads, c.fileWrites, c.fileSyncs, c.fileOther, n)
		}
		if c.mallocs > n*mallocs || c.bytes > n*bytes {
			t.Errorf("%s: %d allocations of %d bytes per request; at most %d of %d", what, c.mallocs/n, c.bytes/n, mallocs, bytes)
		}
	}
	// One write of the journal, which syncs, and at most one marker block behind it.
	check("produce 1 KiB", m.of(n, produce), 0, 2, 25, 4<<10)
	fetch := request(keyFetch, 13, limited(fetchFrom(13, "", id, 0, 9), 8<<10))
	check("fetch 8 KiB from memory", m.of(n, fetch), 0, 0, 27, 12<<10)

	l, err := m.b.Log("t", 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
	// The read, and what finds the place in the index; none of that where the fetch before ended.
	check("fetch 8 KiB from a file", m.of(n, fetch), 10, 0, 35, 12<<10)
	next := int64(0)
	check("fetch 8 KiB on and on from a file", m.of(n, func() {
		next++
		p.exchange(frame(keyFetch, 13, 1, true, limited(fetchFrom(13, "", id, 0, next), 1200).AppendTo(nil)), buffer)
	}), 1, 0, 45, 8<<10)
}

// limited bounds what a fetch answers with.
func limited(req *kmsg.FetchRequest, bytes int32) *kmsg.FetchRequest {
	req.Topics[0].Partitions[0].PartitionMaxBytes = bytes
	return req
}

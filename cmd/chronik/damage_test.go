package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/segment"
	"chronik.dev/chronik/broker/statefile"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
	"chronik.dev/chronik/walinspect"
)

// lastGroup finds the last group of a data directory's journal, of one block as one small record makes it.
func lastGroup(ts *testscript.TestScript, args []string) (name string, at int64) {
	if len(args) != 1 {
		ts.Fatalf("usage: tear|rot DIR")
	}
	dir := ts.MkAbs(args[0])
	target, err := walinspect.Open(walinspect.Options{FS: vfs.OS, Path: filepath.Join(dir, datadir.WalDir)})
	ts.Check(err)
	_, err = target.Dump(&walinspect.Filter{}, func(i *walinspect.Item) error {
		name, at = filepath.Join(dir, i.File), i.Position
		return nil
	})
	ts.Check(err)
	return name, at
}

// cmdNewest sets $SEGMENT to the newest live segment of a data directory's journal; prepared ones may lie beside it.
func cmdNewest(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: newest DIR")
	}
	inv, err := wal.Inspect(wal.InspectOptions{FS: vfs.OS, Dir: filepath.Join(ts.MkAbs(args[0]), datadir.WalDir), Kind: wal.Journal}, nil)
	ts.Check(err)
	ts.Setenv("SEGMENT", inv.Segments[len(inv.Segments)-1].File)
}

// zeroFrom clears a file from a position on, as a growing file is that was never written there.
func zeroFrom(ts *testscript.TestScript, name string, at int64) {
	content, err := os.ReadFile(name)
	ts.Check(err)
	clear(content[at:])
	ts.Check(os.WriteFile(name, content, 0o644))
}

func cmdTear(ts *testscript.TestScript, _ bool, args []string) {
	name, at := lastGroup(ts, args)
	zeroFrom(ts, name, at+wal.SectorSize)
}

func cmdRot(ts *testscript.TestScript, _ bool, args []string) {
	name, at := lastGroup(ts, args)
	zeroFrom(ts, name, at+wal.BlockSize) // no marker promises the group
	content, err := os.ReadFile(name)
	ts.Check(err)
	in := bytes.LastIndex(content, []byte("value-"))
	if int64(in) < at {
		ts.Fatalf("the last group of %s holds no record", name)
	}
	content[in] ^= 0x80
	ts.Check(os.WriteFile(name, content, 0o644))
}

// cmdNewer patches the version of both copies of the identity and their header's CRC, after docs/format/statefile.md.
func cmdNewer(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: newer DIR")
	}
	for _, name := range statefile.Names(filepath.Join(ts.MkAbs(args[0]), datadir.IdentityBase)) {
		b, err := os.ReadFile(name)
		ts.Check(err)
		if len(b) < 48 {
			ts.Check(errors.New("the identity has no header"))
		}
		binary.LittleEndian.PutUint16(b[6:], 99)
		binary.LittleEndian.PutUint32(b[44:], crc32.Checksum(b[:44], crc32.MakeTable(crc32.Castagnoli)))
		ts.Check(os.WriteFile(name, b, 0o644))
	}
}

// cmdOverlap gives a partition directory a second segment that begins with the batch at an offset, which the first one keeps.
func cmdOverlap(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: overlap DIR OFFSET")
	}
	offset, err := strconv.ParseUint(args[1], 10, 63)
	ts.Check(err)
	content, err := os.ReadFile(filepath.Join(ts.MkAbs(args[0]), segment.Log.Name(0)))
	ts.Check(err)
	for len(content) > 12 && binary.BigEndian.Uint64(content) != offset {
		content = content[12+binary.BigEndian.Uint32(content[8:]):]
	}
	ts.Check(os.WriteFile(filepath.Join(ts.MkAbs(args[0]), segment.Log.Name(int64(offset))), content, 0o644))
}

// cmdAppears waits for a file that the node makes beside its work.
func cmdAppears(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: appears PATTERN")
	}
	for end := time.Now().Add(clientTimeout); ; time.Sleep(20 * time.Millisecond) {
		names, err := filepath.Glob(ts.MkAbs(args[0]))
		ts.Check(err)
		if len(names) > 0 {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("no file %s", args[0])
		}
	}
}

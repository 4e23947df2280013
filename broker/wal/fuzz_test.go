package wal

import (
	"os"
	"runtime"
	"testing"

	"chronik.dev/chronik/broker/allocation"
	"chronik.dev/chronik/broker/vfs"
)

// allocated runs fn and returns the bytes that it allocated.
func allocated(fn func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	fn()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func FuzzFrameHead(f *testing.F) {
	var entry [entrySize]byte
	var head [frameHead]byte
	fr := testFrame(1, 2, 3)
	encodeEntry(entry[:], &fr, 77)
	encodeFrameHead(head[:], 5, 9, entry[:])
	f.Add(head[:], uint64(5))
	f.Fuzz(func(t *testing.T, b []byte, generation uint64) {
		id, ok := decodeFrameHead(b, generation)
		if ok && (id.LSN == 0 || id.Length < 0 || id.Length > MaxPayload) {
			t.Fatalf("accepted %+v", id)
		}
		allocation.Bounded(t, len(b), 64<<10, func() { salvage(b, generation, 0, len(b)) })
	})
}

// FuzzGroup gives the decoder a group whose sectors have good checks, so that the fuzzer reaches what is behind them.
func FuzzGroup(f *testing.F) {
	m, _ := goldenDir(f)
	data := readFile(f, m, "/wal/00000000000000000001.wal")
	h, err := decodeHead(data)
	must(f, err)
	f.Add(unpack(nil, data[BlockSize:2*BlockSize]), h.Generation, true)
	f.Add(unpack(nil, data[:BlockSize]), h.Generation, false)
	f.Fuzz(func(t *testing.T, payload []byte, generation uint64, fix bool) {
		n := max(1, (len(payload)+blockPayload-1)/blockPayload)
		if n > 64 {
			return
		}
		buf := make([]byte, n*BlockSize)
		p := packer{buf: buf, generation: generation}
		if fix && len(payload) >= headSize {
			h, err := decodeHead(payload)
			if err == nil {
				h.Generation, h.Start = generation, 0
				encodeHead(payload, &h)
			}
		}
		p.write(payload)
		p.zero(n * blockPayload)
		scanBytes(t, buf, generation)
	})
}

// FuzzSegment gives the decoder a whole file.
func FuzzSegment(f *testing.F) {
	m, _ := goldenDir(f)
	data := readFile(f, m, "/wal/00000000000000000001.wal")
	f.Add(data)
	f.Add(data[:6000])
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<20 {
			return
		}
		h, _ := decodeHead(data)
		scanBytes(t, data, h.Generation)
		m := vfs.NewMem(1)
		must(t, m.Mkdir("/wal"))
		writeAt(t, m, "/wal/00000000000000000001.wal", 0, data)
		allocation.Bounded(t, len(data), 2<<20, func() {
			_, err := Inspect(InspectOptions{FS: m, Dir: "/wal", Kind: Journal, Deep: true}, nil)
			must(t, err)
		})
	})
}

func FuzzManifest(f *testing.F) {
	f.Add((&manifest{kind: Journal, segments: []manifestSegment{{id: 1}}, spares: []uint64{2}, cuts: []Cut{{Incident: "x"}}}).encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		var m *manifest
		var err error
		allocation.Bounded(t, len(b), 64<<10, func() { m, err = decodeManifest(b) })
		if err == nil && len(m.encode()) != len(b) {
			t.Fatal("encodes differently")
		}
	})
}

// scanBytes scans a file and checks what the scanner may do: no panic, items in order, memory bounded by the input.
func scanBytes(t *testing.T, data []byte, generation uint64) {
	m := vfs.NewMem(1)
	must(t, m.Mkdir("/x"))
	writeAt(t, m, "/x/s", 0, data)
	file, err := m.OpenFile("/x/s", os.O_RDONLY)
	must(t, err)
	r := &blockReader{f: file, size: int64(len(data))}
	sc := &scanner{r: r, u: use{generation: generation}, log: Journal, info: &SegmentInfo{ID: 1}, limit: r.blocks()}
	last := uint32(0)
	sc.emit = func(it *item) error {
		if it.end() <= it.start && it.blocks > 0 || it.end() < last {
			t.Fatalf("item at %d to %d after %d", it.start, it.end(), last)
		}
		last = it.start
		for _, fr := range it.frames {
			if len(fr.Payload) > len(data) {
				t.Fatal("a payload larger than the file")
			}
		}
		sc.recycle(it)
		return nil
	}
	if n := allocated(func() { err = sc.run(0) }); n > 16*uint64(len(data))+256<<10 {
		t.Fatalf("allocated %d bytes for %d", n, len(data))
	}
	must(t, err)
}

package segment

import (
	"bytes"
	"hash/crc32"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"chronik.dev/chronik/broker/vfs"
)

// TestSumsFollowAFile lets a log grow, be cut back and be replaced, with crashes that leave entries of bytes that were never kept. Sums of
// the checkpointed bytes must always hold, and any change of a covered byte must show.
func TestSumsFollowAFile(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := vfs.NewMem(1)
		name := Log.Name(5)
		putFile2(t, m, name)
		var file []byte
		s, err := OpenSums(m, "")
		if err != nil {
			t.Fatal(err)
		}
		checkpointed := int64(0)
		for range rapid.IntRange(1, 10).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0: // cut back to a boundary that an entry begins at, as a truncation frame orders
				cuts := []int64{0}
				for _, e := range Live(s.Entries(), func(Kind, int64) int64 { return checkpointed }) {
					cuts = append(cuts, e.From)
				}
				checkpointed = rapid.SampledFrom(cuts).Draw(t, "cut")
				file = file[:checkpointed]
			case 1: // a crash: bytes and entries past the checkpoint stay behind
				more := rapid.SliceOfN(rapid.Byte(), 1, 100).Draw(t, "lost")
				s.Add(Log, 5, checkpointed, more)
				if err := s.Write(); err != nil {
					t.Fatal(err)
				}
				if s, err = OpenSums(m, ""); err != nil {
					t.Fatal(err)
				}
			default:
				more := bytes.Repeat(rapid.SliceOfN(rapid.Byte(), 1, 100).Draw(t, "more"), rapid.SampledFrom([]int{1, 2000}).Draw(t, "times"))
				s.Add(Log, 5, checkpointed, more[:len(more)/2])
				s.Add(Log, 5, checkpointed+int64(len(more)/2), more[len(more)/2:])
				if err := s.Write(); err != nil {
					t.Fatal(err)
				}
				file = append(slices.Clip(file[:checkpointed]), more...)
				checkpointed = int64(len(file))
			}
			if err := m.SetBytes(name, file); err != nil {
				t.Fatal(err)
			}
			checkSums(t, m, s, name, file)
		}
	})
}

func putFile2(t *rapid.T, m *vfs.Mem, name string) {
	if err := vfs.WriteFile(m, name, nil); err != nil {
		t.Fatal(err)
	}
}

func checkSums(t *rapid.T, m *vfs.Mem, s *Sums, name string, file []byte) {
	size := func(Kind, int64) int64 { return int64(len(file)) }
	found := 0
	count := func(Finding) { found++ }
	if err := CheckSums(m, "", s.Entries(), size, count); err != nil || found > 0 {
		t.Fatalf("%d findings on a clean file, %v", found, err)
	}
	covered := int64(0)
	for _, e := range Live(s.Entries(), size) {
		if e.From != covered || e.To-e.From > SumSpan {
			t.Fatalf("entry %+v, covered up to %d", e, covered)
		}
		covered = e.To
	}
	if covered != int64(len(file)) {
		t.Fatalf("%d bytes covered of %d", covered, len(file))
	}
	if len(file) == 0 {
		return
	}
	i := rapid.IntRange(0, len(file)-1).Draw(t, "flip")
	file[i] ^= 0x10
	_ = m.SetBytes(name, file)
	if err := CheckSums(m, "", s.Entries(), size, count); err != nil || found != 1 {
		t.Fatalf("%d findings after a flip of byte %d, %v", found, i, err)
	}
	file[i] ^= 0x10
	_ = m.SetBytes(name, file)
}

func TestSumsDecodePastDamage(t *testing.T) {
	var sums []Sum
	for i := range 10 {
		sums = append(sums, Sum{Log, 0, int64(i) * 100, int64(i)*100 + 100, crc32.Checksum([]byte{byte(i)}, castagnoli)})
	}
	good := EncodeSums(sums)
	if got, end, faults := DecodeSums(good); !slices.Equal(got, sums) || end != 10*SumSize || len(faults) > 0 {
		t.Fatal(got, end, faults)
	}
	for i := range good {
		b := bytes.Clone(good)
		b[i] ^= 0x04
		got, _, faults := DecodeSums(b)
		if len(got) != 9 || len(faults) != 1 || faults[0].Offset != int64(i/SumSize*SumSize) {
			t.Fatalf("flip of byte %d: %d entries, faults %v", i, len(got), faults)
		}
	}
	torn := append(bytes.Clone(good), make([]byte, 50)...)
	if got, end, faults := DecodeSums(torn); len(got) != 10 || end != 10*SumSize || len(faults) != 2 {
		t.Fatal(len(got), end, faults)
	}
	newer := Sum{Log, 0, 0, 1, 0}
	b := newer.append(nil)
	b[0] = 2
	b = append(b[:32], 0, 0, 0, 0)
	putCRC(b)
	if _, _, faults := DecodeSums(b); len(faults) != 1 || faults[0].Reason != BadVersion {
		t.Error(faults)
	}
}

// putCRC makes the CRC of an entry right.
func putCRC(b []byte) {
	c := crc32.Checksum(b[:32], castagnoli)
	b[32], b[33], b[34], b[35] = byte(c>>24), byte(c>>16), byte(c>>8), byte(c)
}

func TestSumsCompact(t *testing.T) {
	m := vfs.NewMem(1)
	s, err := OpenSums(m, "")
	if err != nil {
		t.Fatal(err)
	}
	for i := range int64(10) {
		s.Add(EpochFile, 0, 0, []byte{byte(i)}) // rewritten each time
		s.Add(Log, i, 0, make([]byte, SumSpan+1))
	}
	if err := s.Write(); err != nil {
		t.Fatal(err)
	}
	if len(s.Entries()) != 30 {
		t.Fatalf("%d entries", len(s.Entries()))
	}
	if err := s.Compact(func(k Kind, base int64) bool { return k != Log || base > 1 }); err != nil || len(s.Entries()) != 30 {
		t.Errorf("rewritten for little: %d entries, %v", len(s.Entries()), err)
	}
	if err := s.Compact(func(k Kind, base int64) bool { return k != Log || base > 5 }); err != nil || len(s.Entries()) != 9 {
		t.Errorf("%d entries, %v", len(s.Entries()), err)
	}
	again, err := OpenSums(m, "")
	if err != nil || !slices.Equal(again.Entries(), s.Entries()) || len(again.Faults()) > 0 {
		t.Error(again, err)
	}
	all := Live(again.Entries(), func(Kind, int64) int64 { return math.MaxInt64 })
	if len(all) != 9 || all[8].Base != 9 {
		t.Errorf("%+v", all)
	}
}

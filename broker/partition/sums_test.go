package partition

import (
	"os"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"chronik.dev/chronik/broker/segment"
	"chronik.dev/chronik/broker/vfs"
)

// TestSumsFollowCuts grows a log, cuts it anywhere, again and again, with checkpoints and losses of what was not written between: the sums
// cover all of it after each checkpoint, and rightly.
func TestSumsFollowCuts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fs := vfs.NewMem(1)
		name := logName(0)
		var file []byte
		ends := []int{0} // where entries may end
		put := func() {
			f, err := fs.OpenFile(name, os.O_CREATE|os.O_RDWR)
			if err == nil {
				err = f.Close()
			}
			if err == nil {
				err = fs.SetBytes(name, slices.Clone(file))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		put()
		s := newSums(fs, "")
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0:
				cuts := append(ends, rapid.IntRange(0, len(file)).Draw(t, "anywhere"))
				cuts = slices.DeleteFunc(slices.Clone(cuts), func(n int) bool { return n > len(file) })
				file = file[:rapid.SampledFrom(cuts).Draw(t, "cut")]
				put()
				if err := s.cut(segment.Log, 0, int64(len(file))); err != nil {
					t.Fatal(err)
				}
			case 1:
				if err := s.write(); err != nil {
					t.Fatal(err)
				}
				sums, err := segment.OpenSums(fs, "")
				if err != nil {
					t.Fatal(err)
				}
				size := func(k segment.Kind, _ int64) int64 {
					if k != segment.Log {
						return -1
					}
					return int64(len(file))
				}
				if gaps := segment.Uncovered(segment.Live(sums.Entries(), size), segment.Log, 0, int64(len(file))); len(gaps) > 0 {
					t.Fatalf("%v of %d bytes are not covered by %v", gaps, len(file), sums.Entries())
				}
				err = segment.CheckSums(fs, "", sums.Entries(), size, func(f segment.Finding) { t.Fatalf("%+v", f) })
				if err != nil {
					t.Fatal(err)
				}
			default:
				more := rapid.SliceOfN(rapid.Byte(), 1, 50).Draw(t, "more")
				s.add(segment.Log, 0, int64(len(file)), more)
				file = append(file, more...)
				ends = append(ends, len(file))
				put()
				if rapid.Bool().Draw(t, "another") {
					s.add(segment.MetaFile, 0, 0, []byte("x"))
				}
			}
		}
	})
}

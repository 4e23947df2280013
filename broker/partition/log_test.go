package partition

import (
	"errors"
	"fmt"
	"slices"
	"testing"
)

func TestAppendReadCheckpointReopen(t *testing.T) {
	r := newRig(t)
	cfg := DefaultConfig()
	cfg.SegmentBytes = 2000
	l := r.create(cfg)
	var want []string
	add := func(n int, v string) {
		a := r.must(l, produce(n, v, -1, -1, -1, r.now))
		for i := range n {
			want = append(want, fmt.Sprintf("%d:%s-%d", a.Base+int64(i), v, i))
		}
	}
	for i := range 30 {
		add(i%4+1, fmt.Sprintf("a%d", i))
	}
	if got := values(t, l); !slices.Equal(got, want) {
		t.Fatalf("memory: got %v, want %v", got, want)
	}
	st, ok, err := l.Checkpoint(0)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	if len(st.Segments) < 2 || st.End != int64(len(want)) {
		t.Fatalf("state %+v", st)
	}
	if got := values(t, l); !slices.Equal(got, want) {
		t.Fatalf("files: got %v, want %v", got, want)
	}
	for i := range 10 {
		add(2, fmt.Sprintf("b%d", i))
	}
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
	add(3, "c")
	r.journal.wait.Wait()
	l2, rp := r.reopen(st, cfg)
	if got := values(t, l2); !slices.Equal(got, want) {
		t.Fatalf("after replay: got %v, want %v", got, want)
	}
	if len(rp.Findings()) != 0 {
		t.Fatalf("findings %+v", rp.Findings())
	}
	l = l2
	add(1, "d")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.append(l, produce(1, "x", -1, -1, -1, r.now)); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
	st, ok, err = l.Checkpoint(0)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	l3, _ := r.reopen(st, cfg)
	if got := values(t, l3); !slices.Equal(got, want) {
		t.Fatalf("after a clean stop: got %v, want %v", got, want)
	}
}

package repair

import (
	"bytes"
	"errors"
	"testing"

	"chronik.dev/chronik/broker/allocation"
)

// FuzzDecode: what is accepted is a plan that encodes to one that is accepted; what is refused is called a bad plan, or one of another release.
func FuzzDecode(f *testing.F) {
	p := &Plan{}
	b, err := p.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"kind":"` + PlanKind + `","version":1,"sha256":"","plan":{}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var p *Plan
		var err error
		allocation.Bounded(t, len(b), 64<<10, func() { p, err = Decode(b) })
		if err != nil {
			if !errors.Is(err, ErrPlan) && !errors.Is(err, ErrVersion) {
				t.Fatalf("%v is neither ErrPlan nor ErrVersion", err)
			}
			return
		}
		again, err := p.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if q, err := Decode(again); err != nil {
			t.Fatalf("encoded again: %v", err)
		} else if twice, err := q.Encode(); err != nil || !bytes.Equal(twice, again) {
			t.Fatalf("encoded twice it differs: %v", err)
		}
	})
}

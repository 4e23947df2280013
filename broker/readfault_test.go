package broker

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"chronik.dev/chronik/broker/recovery"
	"chronik.dev/chronik/broker/vfs"
)

// TestReadFaults starts a killed node again and again, each time with another read of its disk failing. A disk that does not read is no damage: the node
// starts with every record, or stops the partition whose files cannot be read, or refuses with the disk's error and starts the next time.
func TestReadFaults(t *testing.T) {
	mem := vfs.NewMem(1)
	b := start(t, mem, nil)
	want := map[string][]int64{}
	for _, topic := range []string{"a", "b"} {
		l := b.create(t, topic)
		for i := range 20 {
			if err := <-b.put(t, l, 100+i*40); err != nil {
				t.Fatal(err)
			}
			if i == 7 {
				if err := b.checkpoint(); err != nil {
					t.Fatal(err)
				}
			}
			want[topic] = append(want[topic], int64(i))
		}
	}
	killed := mem.Kill()
	probe := vfs.NewFaulty(killed.Kill())
	n, err := open(t, probe)
	if err != nil {
		t.Fatal(err)
	}
	total := probe.Count(vfs.OpRead)
	if err := n.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	stride := map[bool]int{false: 1, true: 7}[testing.Short()]
	started, refused, stopped := 0, 0, 0
	for _, times := range []int{1, 4} {
		for skip := 0; skip < total; skip += stride {
			disk := killed.Kill()
			faulty := vfs.NewFaulty(disk)
			faulty.Inject(vfs.Fault{Op: vfs.OpRead, Skip: skip, Times: times})
			n, err := open(t, faulty)
			if err != nil {
				refused++
				if !errors.Is(err, syscall.EIO) && !errors.Is(err, recovery.ErrUnreadable) || strings.Contains(err.Error(), "damaged") {
					t.Errorf("read %d fails %d times: %v", skip, times, err)
				}
				faulty.Clear()
				if n, err = open(t, faulty); err != nil {
					t.Fatalf("read %d failed %d times, and then: %v", skip, times, err)
				}
			} else {
				started++
				faulty.Clear()
			}
			n.register(t)
			if len(n.stopped) > 0 { // by name, and its records are kept: repair plan reads them back
				stopped++
				for _, why := range n.stopped {
					if !strings.Contains(why, "unreadable: ") || !strings.Contains(why, syscall.EIO.Error()) {
						t.Errorf("read %d fails %d times: stopped: %s", skip, times, why)
					}
				}
				if err := n.Close(t.Context()); err != nil {
					t.Errorf("read %d fails %d times: close: %v", skip, times, err)
				}
				continue
			}
			for topic, offsets := range want {
				if got, err := n.served(topic); err != nil || fmt.Sprint(got) != fmt.Sprint(offsets) {
					t.Errorf("read %d fails %d times: %s holds %v, want %v, %v", skip, times, topic, got, offsets, err)
				}
			}
			if err := n.Close(t.Context()); err != nil {
				t.Errorf("read %d fails %d times: close: %v", skip, times, err)
			}
			verify(t, disk)
		}
	}
	t.Logf("%d reads; %d starts went on, %d of them without a partition that could not be read; %d refused", total, started, stopped, refused)
	if refused == 0 {
		t.Error("no fault was noticed")
	}
}

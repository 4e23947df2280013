package broker

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"testing"

	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/partition"
	"chronik.dev/chronik/broker/vfs"
)

// TestFlippedOffsets: Kafka's CRC does not cover a batch's base offset. A bit of it that rots in a partition log is never served: not as another
// offset, and not as a gap.
func TestFlippedOffsets(t *testing.T) {
	mem := vfs.NewMem(1)
	b := start(t, mem, nil)
	l := b.create(t, "t")
	const records = 12
	for i := range records {
		if err := <-b.put(t, l, 100+i); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.checkpoint(); err != nil {
		t.Fatal(err)
	}
	const name = "data/topics/t-0/00000000000000000000.log"
	data, err := mem.Bytes(name)
	if err != nil {
		t.Fatal(err)
	}
	data = bytes.Clone(data)
	var places []int
	for at := 0; at < len(data); {
		h, err := batch.Parse(data[at:])
		if err != nil {
			t.Fatal(err)
		}
		places = append(places, at)
		at += h.Size()
	}
	for _, k := range []int{0, 5, records - 1} {
		for _, bit := range []int{0, 1, 2, 3, 8, 31, 40, 62, 63} {
			disk := mem.Kill()
			bad := bytes.Clone(data)
			binary.BigEndian.PutUint64(bad[places[k]:], uint64(k)^1<<bit)
			if err := disk.SetBytes(name, bad); err != nil {
				t.Fatal(err)
			}
			n, err := open(t, disk)
			if err != nil {
				continue // it says so
			}
			n.register(t)
			if got, err := n.served("t"); err == nil || strings.HasPrefix(err.Error(), "nothing at") {
				t.Errorf("batch %d, bit %d: served %v, nothing said: %v", k, bit, got, err)
			} else if fmt.Sprint(got) != fmt.Sprint([]int64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}[:len(got)]) {
				t.Errorf("batch %d, bit %d: served %v, then %v", k, bit, got, err)
			}
			_ = n.Close(t.Context()) // it cannot leave what verify is content with
		}
	}
}

// served reads partition 0 of a topic from its start to its end, or to an error.
func (b *Broker) served(topic string) (offsets []int64, err error) {
	l, err := b.Log(topic, 0)
	if err != nil {
		return nil, err
	}
	for at := l.LogStart(); at < l.LogEnd(); {
		data, err := l.Read(partition.ReadRequest{Offset: at, UpTo: math.MaxInt64, MaxBytes: 1000, AtLeastOne: true})
		if err != nil {
			return offsets, err
		}
		if len(data) == 0 {
			return offsets, fmt.Errorf("nothing at %d, the end is %d", at, l.LogEnd())
		}
		if err := batch.Each(data, func(h batch.Header, _ []byte) error {
			for o := h.BaseOffset; o <= h.LastOffset(); o++ {
				offsets = append(offsets, o)
			}
			at = h.LastOffset() + 1
			return nil
		}); err != nil {
			return offsets, err
		}
	}
	return offsets, nil
}

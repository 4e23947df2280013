package repair

import (
	"errors"
	"io/fs"
	"strings"

	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/recovery"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
)

// maxHeldFile bounds a file of held frames, bytes.
const maxHeldFile = 1 << 30

// leftHeld adds to the plan the records that are in files of held frames, behind the ends of partitions whose state is made anew: the checkpoint that was
// lost said of which partitions they are still wanted, so they are not read back, and the plan must not pass over them.
func (d *Draft) leftHeld(report *recovery.Report) error {
	infos, err := d.FS.ReadDir(d.Path(datadir.EvidenceDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	left := false
	for _, info := range infos {
		if !strings.HasPrefix(info.Name(), "held.") || strings.HasSuffix(info.Name(), vfs.TempSuffix) {
			continue
		}
		b, err := vfs.ReadFile(d.FS, d.Path(datadir.EvidenceDir, info.Name()), maxHeldFile)
		if err != nil {
			return err
		}
		ends := map[key]int64{}
		if err := recovery.ReadHeld(b, func(f wal.Frame) error {
			if k := (key{f.ID, f.Partition}); f.Type == wal.Batch {
				ends[k] = max(ends[k], f.Last+1)
			}
			return nil
		}); err != nil {
			d.Say("%s/%s: %v", datadir.EvidenceDir, info.Name(), err)
		}
		for i := range report.Partitions {
			p := &report.Partitions[i]
			for k, end := range ends {
				if hexID(k.id) != p.TopicID || k.partition != p.Partition || end <= p.End {
					continue
				}
				left = true
				d.Lose(Loss{What: "records", Topic: p.Topic, TopicID: p.TopicID, Partition: p.Partition, First: p.End, Last: end - 1, Count: end - p.End,
					Acknowledged: AckUnknown, Note: "held in " + datadir.EvidenceDir + "/" + info.Name() + ", where they stay; or given up by a repair before"})
			}
		}
	}
	if left {
		d.Needs("frames that were held for partitions are not read back: the checkpoint that wanted them is lost")
	}
	return nil
}

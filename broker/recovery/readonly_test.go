package recovery

import (
	"fmt"
	"testing"

	"chronik.dev/chronik/broker/partition"
	"chronik.dev/chronik/broker/vfs"
)

// TestCheckTruncations compares what Check says of a journal with several truncations behind the checkpoint, which its files do not show,
// with what Boot makes of it.
func TestCheckTruncations(t *testing.T) {
	for mode, name := range map[vfs.Mode]string{vfs.None: "unsynced writes lost", vfs.All: "all there"} {
		for _, tos := range [][]int64{{4}, {4, 8}, {4, 2}, {6, 20, 12, 8, 14}, {2, 12, 0, 14}} { // rising and falling
			t.Run(fmt.Sprint(name, tos), func(t *testing.T) {
				n := newNode(t)
				l := n.create("orders", 7)
				n.produce(l, 3, "a")
				n.checkpoint()
				for i, to := range tos {
					n.produce(l, 10*i, string(rune('b'+i)))
					if err := l.Truncate(to); err != nil {
						t.Fatal(err)
					}
				}
				n.produce(l, len(tos)%3, "z")
				n.crash(mode)
				var outcomes []Outcome
				report, err := Check(CheckOptions{FS: n.fs, Dir: root, Partition: func(o Outcome) { outcomes = append(outcomes, o) }})
				if err != nil || len(outcomes) != 1 || outcomes[0].Status != OK {
					text, _ := report.JSON()
					t.Fatalf("%v, %+v: %s", err, outcomes, text)
				}
				if err := n.boot(false); err != nil {
					t.Fatal(err)
				}
				l = n.logs[partition.DirName("orders", 0)]
				if got := n.read(l); outcomes[0].End != l.LogEnd() || len(got) != int(l.LogEnd()) {
					t.Errorf("Check says that it ends at %d, Boot at %d: %v", outcomes[0].End, l.LogEnd(), got)
				}
			})
		}
	}
}

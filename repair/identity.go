package repair

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strings"

	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/statefile"
)

// Identity makes the identity anew if no copy of it can be used, or if it is another directory's: every state file below names the directory, the
// metadata name the cluster, and in a group of one also the node and its Raft member id. It is refused with ErrRefused if the files below are of
// different directories, and in a group of several, where nothing here says which of the members this one is.
func Identity(d *Draft) error {
	owners := d.owners()
	switch _, err := datadir.Inspect(d.FS, d.Dir); {
	case errors.Is(err, datadir.ErrNoIdentity):
		d.Say("neither copy of the identity can be used")
	case err != nil:
		return err
	case len(owners) != 1 || owners[0].id == d.DirID || !strings.Contains(strings.Join(owners[0].files, " "), datadir.RaftDir+"/"):
		return nil // and wal/ alone may be the one that is another's
	default:
		d.Say("the identity is that of directory %s, and everything below is of another one", hexID(d.DirID))
	}
	if len(owners) != 1 {
		return fmt.Errorf("%w: the identity cannot be used, and what is below does not say whose directory this is: %s; restore identity.0 from a backup", ErrRefused,
			listOwners(owners))
	}
	d.DirID, d.plan.DirectoryID = owners[0].id, ""
	v, err := d.readRaft(math.MaxUint64)
	if err != nil {
		return fmt.Errorf("the identity is to be made anew from the metadata, and they cannot be read: %w; restore identity.0 from a backup", err)
	}
	if len(v.voters) != 1 || len(v.after.Brokers) != 1 {
		return fmt.Errorf("%w: the metadata know %d members and %d brokers, and which of them this one is cannot be said; restore identity.0 from a backup",
			ErrRefused, len(v.voters), len(v.after.Brokers))
	}
	id := datadir.Identity{ClusterID: v.after.ClusterID, DirectoryID: d.DirID, MemberID: v.voters[0], Founded: true}
	for n := range v.after.Brokers {
		id.NodeID = n
	}
	d.Say("it is made anew: directory %s, which %s name; cluster %s, node %d and Raft member %x, as the metadata say", hexID(id.DirectoryID),
		strings.Join(owners[0].files, ", "), id.ClusterID, id.NodeID, id.MemberID)
	return datadir.Restore(d.FS, d.Dir, id, uint64(d.Now.UnixMilli()))
}

// owner is a directory id, and the files that name it.
type owner struct {
	id    [16]byte
	files []string
}

// owners reads which directory the state files below are of.
func (d *Draft) owners() (out []owner) {
	for _, name := range [][2]string{{datadir.WalDir, datadir.ManifestBase}, {datadir.WalDir, datadir.CheckpointBase}, {datadir.RaftDir, datadir.ManifestBase},
		{datadir.RaftDir, datadir.HardStateBase}} {
		id, ok := statefile.Owner(d.FS, d.Path(name[0], name[1]))
		if !ok {
			continue
		}
		known := false
		for i := range out {
			if out[i].id == id {
				out[i].files, known = append(out[i].files, name[0]+"/"+name[1]), true
			}
		}
		if !known {
			out = append(out, owner{id, []string{name[0] + "/" + name[1]}})
		}
	}
	return out
}

func listOwners(owners []owner) string {
	if len(owners) == 0 {
		return "nothing names one"
	}
	var parts []string
	for _, o := range owners {
		parts = append(parts, fmt.Sprintf("%s of %s", strings.Join(o.files, ", "), hex.EncodeToString(o.id[:])))
	}
	return strings.Join(parts, "; ")
}

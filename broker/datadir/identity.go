package datadir

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"chronik.dev/chronik/broker/statefile"
	"chronik.dev/chronik/broker/vfs"
)

// FormatVersion is the version of the whole directory's layout and of the identity's body. docs/format/identity.md.
const FormatVersion = 1

var identityKind = [4]byte{'I', 'D', 'E', 'N'}

// Identity says whose a directory is. Everything but Founded is fixed when the directory is made.
type Identity struct {
	ClusterID   string   `json:"clusterId"`   // 1 to 255 bytes; one that chronik draws is a UUID in base64url as Kafka writes it
	NodeID      int32    `json:"nodeId"`      // broker id, at least 0
	DirectoryID [16]byte `json:"directoryId"` // random; in every file's header below
	MemberID    uint64   `json:"memberId"`    // Raft member id, random, not 0
	Founded     bool     `json:"founded"`     // wal/ and raft/ were complete once
}

const (
	stateFounding = 1
	stateFounded  = 2
	identityHead  = 32 // bytes before the cluster id
)

func (id Identity) encode() []byte {
	b := make([]byte, identityHead, identityHead+len(id.ClusterID))
	b[0] = stateFounding
	if id.Founded {
		b[0] = stateFounded
	}
	b[1] = byte(len(id.ClusterID))
	binary.LittleEndian.PutUint32(b[4:], uint32(id.NodeID))
	binary.LittleEndian.PutUint64(b[8:], id.MemberID)
	copy(b[16:], id.DirectoryID[:])
	return append(b, id.ClusterID...)
}

func decodeIdentity(b []byte) (Identity, error) {
	if len(b) < identityHead {
		return Identity{}, fmt.Errorf("%d bytes, at least %d expected", len(b), identityHead)
	}
	id := Identity{
		ClusterID:   string(b[identityHead:]),
		NodeID:      int32(binary.LittleEndian.Uint32(b[4:])),
		MemberID:    binary.LittleEndian.Uint64(b[8:]),
		DirectoryID: [16]byte(b[16:32]),
		Founded:     b[0] == stateFounded,
	}
	switch {
	case b[0] != stateFounding && b[0] != stateFounded:
		return Identity{}, fmt.Errorf("state %d at byte 0", b[0])
	case int(b[1]) != len(id.ClusterID) || b[1] == 0:
		return Identity{}, fmt.Errorf("cluster id of %d bytes, %d announced at byte 1", len(id.ClusterID), b[1])
	case b[2]|b[3] != 0:
		return Identity{}, errors.New("reserved bytes are not zero")
	case id.NodeID < 0:
		return Identity{}, fmt.Errorf("node id %d at byte 4", id.NodeID)
	case id.MemberID == 0 || id.DirectoryID == [16]byte{}:
		return Identity{}, errors.New("member id or directory id is zero")
	}
	return id, nil
}

// newIdentity draws what the options leave open.
func newIdentity(o Options) (Identity, error) {
	r := o.Rand
	if r == nil {
		r = rand.Reader
	}
	id := Identity{ClusterID: o.ClusterID, NodeID: o.NodeID}
	if id.NodeID < 0 {
		id.NodeID = 1
	}
	if len(id.ClusterID) > 255 {
		return id, fmt.Errorf("cluster id of %d bytes, limit 255", len(id.ClusterID))
	}
	for range 100 {
		var b [40]byte // cluster, directory, member
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return id, fmt.Errorf("draw an id: %w", err)
		}
		b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80 // a version 4 UUID (RFC 9562)
		id.DirectoryID, id.MemberID = [16]byte(b[16:32]), binary.LittleEndian.Uint64(b[32:])
		if o.ClusterID == "" {
			id.ClusterID = base64.RawURLEncoding.EncodeToString(b[:16])
		}
		// Kafka's tools take an id that starts with '-' for an option.
		if id.MemberID != 0 && id.DirectoryID != [16]byte{} && (o.ClusterID != "" || id.ClusterID[0] != '-') {
			return id, nil
		}
	}
	return id, errors.New("draw an id: the random source gives zeros")
}

// MarshalJSON writes the directory id as hexadecimal digits.
func (id Identity) MarshalJSON() ([]byte, error) {
	type plain Identity
	return json.Marshal(struct {
		plain
		DirectoryID string `json:"directoryId"`
	}{plain(id), hex.EncodeToString(id.DirectoryID[:])})
}

// Restore makes id the identity of a directory, in both copies, whatever they held. It is for package repair, which knows from elsewhere whose the
// directory is: sequence is above every one that was used.
func Restore(fsys vfs.FS, path string, id Identity, sequence uint64) error {
	if _, err := decodeIdentity(id.encode()); err != nil {
		return fmt.Errorf("restore identity of %s: %w", path, err)
	}
	_, err := statefile.Replace(fsys, filepath.Join(path, IdentityBase), identityKind, FormatVersion, [16]byte{}, sequence, id.encode())
	return err
}

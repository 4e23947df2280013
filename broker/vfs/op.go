package vfs

import "fmt"

// OpKind names a call for hooks and faults.
type OpKind uint8

// The calls that hooks and faults see.
const (
	OpOpen OpKind = iota + 1
	OpCreate
	OpRead
	OpWrite
	OpTruncate
	OpSync
	OpMkdir
	OpRemove
	OpRename
	OpReadDir
	OpStat
	OpSyncDir
	OpSyncFS
	OpLock
	OpFree
)

var opNames = [...]string{OpOpen: "open", OpCreate: "create", OpRead: "read", OpWrite: "write", OpTruncate: "truncate", OpSync: "sync",
	OpMkdir: "mkdir", OpRemove: "remove", OpRename: "rename", OpReadDir: "readdir", OpStat: "stat", OpSyncDir: "syncdir", OpSyncFS: "syncfs",
	OpLock: "lock", OpFree: "free"}

func (k OpKind) String() string {
	if int(k) < len(opNames) && opNames[k] != "" {
		return opNames[k]
	}
	return fmt.Sprintf("op%d", uint8(k))
}

// Op is one call: what, on which name, and for reads, writes and truncations where and how many bytes.
type Op struct {
	Kind OpKind
	Name string
	Off  int64
	Len  int
}

func (o Op) String() string {
	switch o.Kind {
	case OpRead, OpWrite, OpTruncate:
		return fmt.Sprintf("%s %s at %d length %d", o.Kind, o.Name, o.Off, o.Len)
	}
	return o.Kind.String() + " " + o.Name
}

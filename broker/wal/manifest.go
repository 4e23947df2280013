package wal

// manifest is the body of the state file "manifest".
type manifest struct{}

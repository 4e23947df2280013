package wal

import (
	"strings"

	"chronik.dev/chronik/broker/statefile"
	"chronik.dev/chronik/broker/vfs"
)

// fileClass says what a name in a log directory stands for.
type fileClass uint8

const (
	fileUnknown  fileClass = iota
	fileOther              // not the log's, and known: other state of the same directory, lost+found
	fileSegment            // <20 digits>.wal
	fileSpare              // spare-<16 hex>.wal
	fileManifest           // manifest.0, manifest.1
	fileReserve            // reserve
	fileTemp               // *.tmp: a file that a crash kept from being made
)

func classify(name string) fileClass {
	if _, ok := parseSegmentName(name); ok {
		return fileSegment
	}
	if base, ok := statefile.Base(name); ok {
		switch base {
		case manifestName:
			return fileManifest
		case "checkpoint", "hardstate":
			return fileOther
		}
	}
	switch {
	case isSpareName(name):
		return fileSpare
	case name == reserveName:
		return fileReserve
	case name == "lost+found" || name == "snapshots":
		return fileOther
	case strings.HasSuffix(name, vfs.TempSuffix):
		return fileTemp
	}
	return fileUnknown
}

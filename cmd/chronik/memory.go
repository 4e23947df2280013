package main

import (
	"math"
	"os"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
)

// limitMemory sets Go's soft memory limit to nine tenths of the container's (cgroup v2 or v1), so that the collector works harder before the
// kernel kills the node. GOMEMLIMIT in the environment wins. It returns the limit in bytes, 0 if there is none.
func limitMemory(readFile func(string) ([]byte, error)) int64 {
	if os.Getenv("GOMEMLIMIT") != "" {
		return debug.SetMemoryLimit(-1)
	}
	limit := cgroupLimit(readFile)
	if limit == 0 {
		return 0
	}
	limit = limit / 10 * 9
	debug.SetMemoryLimit(limit)
	return limit
}

// cgroupLimit returns the lowest memory limit of this process's cgroup and those above it, in bytes; 0 if there is none.
func cgroupLimit(readFile func(string) ([]byte, error)) int64 {
	membership, err := readFile("/proc/self/cgroup")
	if err != nil {
		return 0 // not Linux
	}
	lowest := int64(math.MaxInt64)
	for _, line := range strings.Split(string(membership), "\n") {
		parts := strings.SplitN(line, ":", 3) // hierarchy:controllers:path
		if len(parts) != 3 {
			continue
		}
		root, file := "/sys/fs/cgroup", "memory.max"
		if parts[1] != "" {
			if !strings.Contains(","+parts[1]+",", ",memory,") {
				continue
			}
			root, file = "/sys/fs/cgroup/memory", "memory.limit_in_bytes"
		}
		for dir := path.Clean("/" + parts[2]); ; dir = path.Dir(dir) {
			lowest = min(lowest, limitIn(readFile, path.Join(root, dir, file)))
			if dir == "/" {
				break
			}
		}
	}
	if lowest >= math.MaxInt64/2 { // v1 says "none" with a huge number
		return 0
	}
	return lowest
}

// limitIn reads one limit; "max" and whatever is no number mean none.
func limitIn(readFile func(string) ([]byte, error), name string) int64 {
	text, err := readFile(name)
	if err != nil {
		return math.MaxInt64
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil || n <= 0 {
		return math.MaxInt64
	}
	return n
}

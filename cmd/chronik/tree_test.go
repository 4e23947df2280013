package main

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/rogpeppe/go-internal/testscript"
)

// treeHash names every file below a directory with its content.
func treeHash(ts *testscript.TestScript, dir string) string {
	h := sha256.New()
	ts.Check(filepath.WalkDir(ts.MkAbs(dir), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		fmt.Fprintf(h, "%s %d\n%s", path, len(content), content)
		return err
	}))
	return fmt.Sprintf("%x", h.Sum(nil))
}

func cmdSnapTree(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: snap-tree DIR")
	}
	ts.Setenv("TREE_"+args[0], treeHash(ts, args[0]))
}

func cmdSameTree(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: same-tree DIR")
	}
	if got := treeHash(ts, args[0]); got != ts.Getenv("TREE_"+args[0]) {
		ts.Fatalf("%s has changed", args[0])
	}
}

package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"testing"
)

// TestEveryBugHasACatcher compares the list here with the one in package planted.
func TestEveryBugHasACatcher(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../../broker/planted/planted.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	bugs := 0
	ast.Inspect(file, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok || len(v.Values) != 1 {
			return true
		}
		name, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		bugs++
		if !slices.ContainsFunc(plantings, func(p planting) bool { return string(p.bug) == name }) {
			t.Errorf("nothing looks for %s", name)
		}
		return true
	})
	if bugs < 20 {
		t.Errorf("%d bugs in package planted", bugs)
	}
}

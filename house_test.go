// Package house holds the rules of the house as tests, so that `go test ./...` is also the linter: floors, budgets, package comments and
// doc comments (this file), formatting, vet and staticcheck (lint_test.go). It has no exported API and nothing imports it.
//
// Every rule applies to every package of the module. Files that say "Code generated ... DO NOT EDIT." are exempt from budgets and
// comments, not from floors. Exceptions to a budget are listed in overBudget; the list starts empty and should stay so.
package house

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"testing"
)

const (
	module      = "chronik.dev/chronik"
	maxFile     = 500 // lines
	maxFunction = 80  // lines, from `func` to the closing brace
	maxMethods  = 5   // of an interface; package vfs is the one exception
)

// overBudget names what may exceed a budget: "path" for a file, "path:Function" for a function. Each entry needs a reason beside it.
var overBudget = map[string]string{}

// forbiddenNames are package names that say nothing about what is inside.
var forbiddenNames = regexp.MustCompile(`^(util|utils|common|helper|helpers|types|misc|shared)$`)

// folders are the top-level folders that the product's owner fixed.
var folders = map[string]bool{
	"cmd": true, "walinspect": true, "raftdump": true, "repair": true, "tui": true, "broker": true, "docs": true, "bench": true, "testdata": true,
}

// pkg is what `go list -json` says of a package.
type pkg struct {
	ImportPath, Dir, Name, Doc string
	Imports                    []string
	GoFiles                    []string
}

func list(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,Name,Doc,Imports,GoFiles", "./...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.Bytes())
	}
	var all []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); dec.More(); {
		var p pkg
		if err := dec.Decode(&p); err != nil {
			t.Fatalf("go list: %v", err)
		}
		all = append(all, p)
	}
	if len(all) == 0 {
		t.Fatal("go list found no package")
	}
	return all
}

// floors reads the table of docs/ARCHITECTURE.md: import path below the module to floor.
func floors(t *testing.T) map[string]int {
	t.Helper()
	text, err := os.ReadFile("docs/ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	table := map[string]int{}
	for _, m := range regexp.MustCompile("(?m)^\\| *([0-9]+) *\\| *`([a-z0-9/]+)` *\\|").FindAllStringSubmatch(string(text), -1) {
		floor, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		if _, twice := table[m[2]]; twice {
			t.Errorf("docs/ARCHITECTURE.md lists %s twice", m[2])
		}
		table[m[2]] = floor
	}
	if len(table) < 10 {
		t.Fatalf("docs/ARCHITECTURE.md: found only %d rows in the table of floors", len(table))
	}
	return table
}

func TestFloors(t *testing.T) {
	table := floors(t)
	seen := map[string]bool{}
	for _, p := range list(t) {
		name := strings.TrimPrefix(p.ImportPath, module+"/")
		if len(p.GoFiles) == 0 {
			continue // tests only, such as this package
		}
		floor, ok := table[name]
		if !ok {
			t.Errorf("%s has no row in the table of floors in docs/ARCHITECTURE.md", name)
			continue
		}
		seen[name] = true
		for _, imp := range p.Imports {
			below, ours := strings.CutPrefix(imp, module+"/")
			if !ours {
				continue
			}
			if f, ok := table[below]; ok && f >= floor {
				t.Errorf("%s (floor %d) imports %s (floor %d): import lower floors only", name, floor, below, f)
			}
		}
	}
	for name := range table {
		if !seen[name] {
			t.Errorf("docs/ARCHITECTURE.md has a row for %s, which does not exist", name)
		}
	}
}

// TestOfflineTools keeps the promise that a tool cannot start a node by accident.
func TestOfflineTools(t *testing.T) {
	deps := func(path string) []string {
		out, err := exec.Command("go", "list", "-deps", path).Output()
		if err != nil {
			t.Fatalf("go list -deps %s: %v", path, err)
		}
		return strings.Fields(string(out))
	}
	for _, tool := range []string{"walinspect", "raftdump"} {
		for _, d := range deps("./" + tool) {
			if d == module+"/broker" || d == module+"/broker/kafka" || d == module+"/broker/admin" {
				t.Errorf("%s depends on %s", tool, d)
			}
		}
	}
}

func TestLayout(t *testing.T) {
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	ignored, err := os.ReadFile(".gitignore")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() && !folders[e.Name()] && !strings.HasPrefix(e.Name(), ".") && !bytes.Contains(ignored, []byte("/"+e.Name()+"/\n")) {
			t.Errorf("top-level folder %s is not one of the fixed ones", e.Name())
		}
	}
	for _, p := range list(t) {
		if forbiddenNames.MatchString(p.Name) || forbiddenNames.MatchString(filepath.Base(p.Dir)) {
			t.Errorf("%s: the name says nothing about what is inside", p.ImportPath)
		}
		if len(p.GoFiles) > 0 && len(strings.TrimSpace(p.Doc)) < 40 {
			t.Errorf("%s has no package comment (idea, guarantee, API)", p.ImportPath)
		}
	}
}

// source is one parsed Go file of the module.
type source struct {
	path      string
	lines     int
	file      *ast.File
	fset      *token.FileSet
	generated bool
}

func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	for _, path := range goFiles(t) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, path, text, parser.ParseComments)
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		lines := bytes.Count(text, []byte("\n"))
		all = append(all, source{path: path, lines: lines, file: file, fset: fset, generated: ast.IsGenerated(file)})
	}
	return all
}

// goFiles lists every Go file of the module, also those that a build tag hides.
func goFiles(t *testing.T) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(".", func(path string, d os.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != "." && strings.HasPrefix(d.Name(), "."):
			return filepath.SkipDir
		case !d.IsDir() && strings.HasSuffix(path, ".go"):
			all = append(all, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(all)
	return all
}

func TestBudgets(t *testing.T) {
	used := map[string]bool{}
	over := func(key string, is bool) bool {
		if is && overBudget[key] != "" {
			used[key] = true
			return false
		}
		return is
	}
	for _, s := range sources(t) {
		if s.generated {
			continue
		}
		if over(s.path, s.lines > maxFile) {
			t.Errorf("%s has %d lines; %d at most", s.path, s.lines, maxFile)
		}
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Body == nil {
				continue
			}
			from, to := s.fset.Position(f.Pos()).Line, s.fset.Position(f.End()).Line
			if n := to - from + 1; over(s.path+":"+f.Name.Name, n > maxFunction) {
				t.Errorf("%s:%d: %s has %d lines; %d at most", s.path, from, f.Name.Name, n, maxFunction)
			}
		}
	}
	for key := range overBudget {
		if !used[key] {
			t.Errorf("overBudget lists %s, which is within its budget", key)
		}
	}
}

func TestDocComments(t *testing.T) {
	for _, s := range sources(t) {
		if s.generated || s.file.Name.Name == "main" || strings.HasSuffix(s.path, "_test.go") {
			continue
		}
		for _, d := range s.file.Decls {
			for _, missing := range undocumented(d) {
				t.Errorf("%s: %s has no doc comment", s.fset.Position(missing.Pos()), missing.Name)
			}
		}
	}
}

// implicit are methods whose meaning the standard library fixed.
var implicit = map[string]bool{"String": true, "Error": true, "Unwrap": true, "Is": true, "Len": true, "Less": true, "Swap": true}

// undocumented returns the exported names that a declaration leaves without a comment. A comment on a group of constants or variables
// covers the group; a comment at the end of the line counts.
func undocumented(decl ast.Decl) []*ast.Ident {
	var missing []*ast.Ident
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if d.Name.IsExported() && d.Doc == nil && (d.Recv == nil || exportedReceiver(d.Recv) && !implicit[d.Name.Name]) {
			missing = append(missing, d.Name)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				if s.Name.IsExported() && s.Doc == nil && s.Comment == nil && d.Doc == nil {
					missing = append(missing, s.Name)
				}
			case *ast.ValueSpec:
				for _, n := range s.Names {
					if n.IsExported() && s.Doc == nil && s.Comment == nil && d.Doc == nil {
						missing = append(missing, n)
					}
				}
			}
		}
	}
	return missing
}

func exportedReceiver(recv *ast.FieldList) bool {
	expr := recv.List[0].Type
	for {
		switch e := expr.(type) {
		case *ast.StarExpr:
			expr = e.X
		case *ast.IndexExpr:
			expr = e.X
		case *ast.Ident:
			return e.IsExported()
		default:
			return false
		}
	}
}

func TestInterfaces(t *testing.T) {
	for _, s := range sources(t) {
		if s.generated || filepath.Base(filepath.Dir(s.path)) == "vfs" {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			i, ok := n.(*ast.InterfaceType)
			if !ok {
				return true
			}
			methods := 0
			for _, f := range i.Methods.List {
				methods += max(1, len(f.Names))
			}
			if methods > maxMethods {
				t.Errorf("%s: an interface of %d methods; %d at most", s.fset.Position(i.Pos()), methods, maxMethods)
			}
			return true
		})
	}
}

// TestRulesBite shows each rule on code that breaks it.
func TestRulesBite(t *testing.T) {
	const bad = "package p\n\nfunc Exported() {}\n\ntype T struct{}\n\nfunc (*T) Method() {}\nfunc (t T) String() string { return \"\" }\n\nconst C = 1\n"
	file, err := parser.ParseFile(token.NewFileSet(), "bad.go", bad, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range file.Decls {
		for _, id := range undocumented(d) {
			got = append(got, id.Name)
		}
	}
	if want := "[Exported T Method C]"; fmt.Sprint(got) != want {
		t.Errorf("undocumented: got %v, want %s", got, want)
	}
}

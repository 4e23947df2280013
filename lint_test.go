package house

import (
	"bytes"
	"go/format"
	"os"
	"os/exec"
	"testing"
)

func TestFormatting(t *testing.T) {
	for _, path := range goFiles(t) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		want, err := format.Source(text)
		if err != nil {
			t.Errorf("%s: %v", path, err)
		} else if !bytes.Equal(text, want) {
			t.Errorf("%s is not formatted; run gofmt -w %s", path, path)
		}
	}
}

func TestVet(t *testing.T) {
	run(t, "go", "vet", "./...")
}

// TestStaticcheck runs the version that go.mod pins: its default checks and ST1000 (package comments).
func TestStaticcheck(t *testing.T) {
	run(t, "go", "tool", "staticcheck", "-checks", "inherit,ST1000", "./...")
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", cmd, err, out)
	}
}

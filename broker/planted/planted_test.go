package planted

import "testing"

// TestIs: no bug is active unless both the build and the environment ask for it.
func TestIs(t *testing.T) {
	if want := enabled && active == SkipSync; Is(SkipSync) != want {
		t.Errorf("skip_sync is active: %v", !want)
	}
	if Is("") && !enabled {
		t.Error("a build without the tag has a bug")
	}
}

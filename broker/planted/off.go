//go:build !planted

package planted

const (
	enabled     = false
	active  Bug = ""
)

//go:build planted

package planted

import "os"

const enabled = true

var active = Bug(os.Getenv("CHRONIK_PLANTED"))

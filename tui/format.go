package tui

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// none stands for a value that is not known.
const none = "-"

// count writes a whole number with its thousands apart.
func count[T ~int | ~int64 | ~uint64 | ~int32](n T) string {
	text := strconv.FormatInt(int64(n), 10)
	if n > 0 {
		text = strconv.FormatUint(uint64(n), 10)
	}
	start := 0
	if text[0] == '-' {
		start = 1
	}
	for at := len(text) - 3; at > start; at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	return text
}

// number writes a rate without its unit: exact below a million, three digits above.
func number(f float64) string {
	switch {
	case math.IsNaN(f) || math.IsInf(f, 0):
		return none
	case f >= 1e9:
		return fmt.Sprintf("%.2f G", f/1e9)
	case f >= 1e6:
		return fmt.Sprintf("%.2f M", f/1e6)
	case f > 0 && f < 9.95:
		return fmt.Sprintf("%.1f", f)
	}
	return count(int64(math.Round(f)))
}

// size writes bytes with a binary unit.
func size[T ~int64 | ~uint64 | ~float64](n T) string {
	f := float64(n)
	if math.IsNaN(f) || f < 0 {
		return none
	}
	if f < 1024 {
		return fmt.Sprintf("%.0f B", f)
	}
	const units = "KMGTPE"
	unit := 0
	for f /= 1024; f >= 1023.95 && unit < len(units)-1; f /= 1024 {
		unit++
	}
	if f >= 99.95 {
		return fmt.Sprintf("%.0f %ciB", f, units[unit])
	}
	return fmt.Sprintf("%.1f %ciB", f, units[unit])
}

// short writes a duration in seconds as a latency: three digits at most.
func (t Theme) short(seconds float64) string {
	if math.IsNaN(seconds) || seconds < 0 {
		return none
	}
	value, unit := seconds*1e6, " "+t.glyphs().micro+"s"
	if value >= 999.5 {
		value, unit = value/1000, " ms"
	}
	if value >= 999.5 {
		value, unit = value/1000, " s"
	}
	if value >= 9.95 || value == math.Trunc(value) {
		return fmt.Sprintf("%.0f%s", value, unit)
	}
	return fmt.Sprintf("%.1f%s", value, unit)
}

// long writes a duration in seconds as people say it: the two largest units.
func long(seconds float64) string {
	if math.IsNaN(seconds) || seconds < 0 {
		return none
	}
	s := int64(math.Min(seconds, 1e12) + 0.5)
	minute, hour, day := s/60, s/3600, s/86400
	switch {
	case s < 60:
		return fmt.Sprintf("%d s", s)
	case minute < 10:
		return fmt.Sprintf("%d min %d s", minute, s%60)
	case minute < 60:
		return fmt.Sprintf("%d min", minute)
	case hour < 24:
		return fmt.Sprintf("%d h %d min", hour, minute%60)
	case day < 10:
		return fmt.Sprintf("%d d %d h", day, hour%24)
	case day < 3650:
		return count(day) + " d"
	}
	return "years"
}

// clock writes a wall clock time of today, ms since 1970.
func (v view) clock(millis int64) string {
	return time.UnixMilli(millis).In(v.zone).Format("15:04:05")
}

// stamp writes a wall clock time with its day where that is not today.
func (v view) stamp(millis int64) string {
	at, now := time.UnixMilli(millis).In(v.zone), v.history.Now.In(v.zone)
	if at.YearDay() == now.YearDay() && at.Year() == now.Year() {
		return at.Format("15:04:05")
	}
	return at.Format("2006-01-02 15:04")
}

package batch

import "testing"

func BenchmarkCheck(b *testing.B) {
	for name, n := range map[string]int{"small": 1, "large": 1300} {
		raw := sample(b, None, n)
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Check(raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkRecords(b *testing.B) {
	for _, c := range allCodecs {
		raw := sample(b, c, 1300)
		b.Run(c.String(), func(b *testing.B) {
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				if err := Records(raw, testLimit, func(Record) error { return nil }); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

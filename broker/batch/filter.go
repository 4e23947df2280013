package batch

// Filter returns a batch with only the records that keep accepts, as Kafka's log cleaner writes it: same base and last offset, same
// codec, attributes, producer and sequence; every kept record keeps its offset and time. limit bounds the decompressed bytes. If all are
// kept, the result is raw itself. If none is, the result is an empty batch, which keeps a producer's last sequence; drop it where that
// is not needed. A control batch is not for filtering: its one record is kept or dropped as a whole by the caller.
func Filter(raw []byte, limit int, keep func(Record) bool) (out []byte, kept int, err error) {
	h, err := parseWhole(raw)
	if err != nil {
		return nil, 0, err
	}
	var body []byte
	newest := int64(NoTimestamp)
	err = Encoded(raw, limit, func(r Record, encoded []byte) error {
		if keep(r) {
			kept++
			newest = max(newest, r.Timestamp)
			body = append(body, encoded...) // deltas are against the same base
		}
		return nil
	})
	if err != nil {
		return nil, 0, err
	}
	if kept == int(h.Count) {
		return raw, kept, nil
	}
	h.Count = int32(kept)
	if kept > 0 {
		h.MaxTimestamp = newest
		out, err = encode(h, body)
		return out, kept, err
	}
	codec := int16(h.Codec())
	h.Attributes &^= codec // an empty batch is not compressed
	out, err = encode(h, nil)
	return out, 0, err
}

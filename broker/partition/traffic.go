package partition

// Traffic counts what clients wrote to and read from partitions since they were opened. What the node itself writes is not in it.
type Traffic struct {
	ProducedRecords, ProducedBytes uint64 // acknowledged, or ready to be; batches as they are stored; duplicates are not counted again
	FetchedRecords, FetchedBytes   uint64 // read for clients; batches as they are stored, so a fetch from within a batch counts all of it
}

// Add adds another count.
func (t *Traffic) Add(o Traffic) {
	t.ProducedRecords += o.ProducedRecords
	t.ProducedBytes += o.ProducedBytes
	t.FetchedRecords += o.FetchedRecords
	t.FetchedBytes += o.FetchedBytes
}

// Traffic returns the counts since the log was opened.
func (l *Log) Traffic() Traffic {
	t := Traffic{FetchedRecords: l.fetchedRecords.Load(), FetchedBytes: l.fetchedBytes.Load()}
	l.mu.Lock()
	defer l.mu.Unlock()
	t.ProducedRecords, t.ProducedBytes = l.producedRecords, l.producedBytes
	return t
}

// CountFetched notes that a client was given batches of this log.
func (l *Log) CountFetched(records, bytes int) {
	l.fetchedRecords.Add(uint64(records))
	l.fetchedBytes.Add(uint64(bytes))
}

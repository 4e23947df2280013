// Package kafka speaks Apache Kafka's wire protocol for a node: listener, connections, dispatch, and one file per family of APIs.
//
// The idea. A connection has two goroutines. The reader takes one frame after the other, checks it against a schema before anything is
// allocated for it, and runs the request; a produce is appended in place, so that records enter a partition in the order in which they
// came. The writer answers in the order of the requests, whatever order they complete in: completions from the journal's committer only
// mark a call as ready and wake the writer of the connection. A fetch runs on the writer when its turn has come, so a long poll needs no
// goroutine, never blocks the reader, and a connection holds the records of one response at most.
//
// The guarantee. Only what is advertised in the table of APIs is served, every version of it; everything else is refused with an error
// that says so. No length or count of a peer is believed before the bytes for it are there; memory for requests, for fetched records and
// for waiting responses is bounded per connection and in total. Success is never answered for something that was not done: a produce
// with acks is answered from the committer, an internal error becomes a retriable Kafka error.
//
// The API. New makes a Server for a *broker.Broker, Serve accepts on a listener, Shutdown answers what is in hand and ends. The
// versions served are listed in docs/compatibility.md, which a test compares with the table.
package kafka

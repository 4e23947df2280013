// Package peerpb is the vocabulary of the peer port: the protobuf messages and the gRPC service that nodes speak with each other. It has no
// behaviour; package broker/peer serves and asks.
//
// The generated files are checked in. After a change of peer.proto: `go generate ./broker/peerpb` (needs protoc 3.21 or later).
package peerpb

//go:generate go build -o /tmp/chronik-protoc-gen-go google.golang.org/protobuf/cmd/protoc-gen-go
//go:generate env GOBIN=/tmp/chronik-protoc-gen-go-grpc go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2
//go:generate protoc --plugin=protoc-gen-go=/tmp/chronik-protoc-gen-go --plugin=protoc-gen-go-grpc=/tmp/chronik-protoc-gen-go-grpc/protoc-gen-go-grpc --go_out=. --go_opt=paths=source_relative --go-grpc_out=. --go-grpc_opt=paths=source_relative peer.proto

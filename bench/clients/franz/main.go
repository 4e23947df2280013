// Command franz is the franz-go client of bench/clients: it creates a topic, produces N records and consumes them in a group
// while the broker restarts, and prints every record consumed.
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func main() {
	if len(os.Args) != 5 {
		fmt.Fprintln(os.Stderr, "usage: franz BOOTSTRAP TOPIC N HALF-FLAG-FILE")
		os.Exit(2)
	}
	n, err := strconv.Atoi(os.Args[3])
	if err == nil {
		err = run(os.Args[1], os.Args[2], n, os.Args[4])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(bootstrap, topic string, n int, half string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Second)
	defer cancel()
	producer, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.DefaultProduceTopic(topic))
	if err != nil {
		return err
	}
	defer producer.Close()
	created, err := kadm.NewClient(producer).CreateTopic(ctx, 3, 1, nil, topic)
	if err != nil {
		return fmt.Errorf("create topic: %w", err)
	}
	if created.Err != nil {
		return fmt.Errorf("create topic: %w", created.Err)
	}
	done := make(chan error, 1)
	go func() { done <- consume(ctx, bootstrap, topic, n) }()
	for i := 1; i <= n; i++ {
		producer.Produce(ctx, kgo.StringRecord(fmt.Sprintf("record-%d", i)), func(_ *kgo.Record, err error) {
			if err != nil {
				fmt.Fprintln(os.Stderr, "produce:", err)
			}
		})
		if i == n/2 {
			if err := os.WriteFile(half, nil, 0o644); err != nil {
				return err
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := producer.Flush(ctx); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	return <-done
}

func consume(ctx context.Context, bootstrap, topic string, n int) error {
	consumer, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.ConsumeTopics(topic), kgo.ConsumerGroup("franz-group"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.AutoCommitInterval(200*time.Millisecond))
	if err != nil {
		return err
	}
	defer consumer.Close()
	seen := map[string]bool{}
	for len(seen) < n {
		fetches := consumer.PollFetches(ctx)
		if ctx.Err() != nil {
			return fmt.Errorf("consumed %d of %d: %w", len(seen), n, ctx.Err())
		}
		fetches.EachRecord(func(r *kgo.Record) {
			seen[string(r.Value)] = true
			fmt.Println(string(r.Value))
		})
	}
	return nil
}

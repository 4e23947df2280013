package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"chronik.dev/chronik/broker/config"
)

// completeWithin is how long a shell waits for names of a cluster, in all.
const completeWithin = time.Second

// completion offers arguments to a shell.
type completion = func(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective)

// complete offers names that a cluster is asked for. A cluster that does not answer at once offers nothing, and says nothing: a shell is
// waiting, and its line is no place for errors.
func complete(o *clientOptions, ask func(*session) ([]string, error)) completion {
	return func(_ *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
		quick := *o
		quick.timeout = completeWithin
		s, err := quick.connect(context.Background())
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		defer s.close()
		names, err := ask(s)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		given := map[string]bool{}
		for _, a := range args {
			given[a] = true
		}
		var fitting []cobra.Completion
		for _, name := range names {
			if strings.HasPrefix(name, toComplete) && !given[name] {
				fitting = append(fitting, name)
			}
		}
		return fitting, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeTopics offers topics; the brokers' own ones only if their first letters are typed.
func completeTopics(o *clientOptions) completion {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return complete(o, func(s *session) ([]string, error) {
			all, err := s.admin.ListTopicsWithInternal(s.ctx)
			if !strings.HasPrefix(toComplete, "_") {
				all.FilterInternal()
			}
			return all.Names(), err
		})(cmd, args, toComplete)
	}
}

// completeGroups offers consumer groups.
func completeGroups(o *clientOptions) completion {
	return complete(o, func(s *session) ([]string, error) {
		all, err := s.admin.ListGroups(s.ctx)
		return all.Groups(), err
	})
}

// firstOnly offers nothing behind the first argument.
func firstOnly(c completion) completion {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return c(cmd, args, toComplete)
	}
}

// completeKeys offers a topic's settings; no cluster is needed for them.
func completeKeys(_ *cobra.Command, _ []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return keysLike(config.TopicKeys(), toComplete), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

func keysLike(keys []*config.Key, prefix string) []cobra.Completion {
	var fitting []cobra.Completion
	for _, k := range keys {
		if strings.HasPrefix(k.Name, prefix) {
			fitting = append(fitting, cobra.CompletionWithDesc(k.Name, k.Doc))
		}
	}
	return fitting
}

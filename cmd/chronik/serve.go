package main

import (
	"fmt"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"chronik.dev/chronik/broker/config"
	"chronik.dev/chronik/broker/vfs"
)

// serveOptions are the flags of `chronik serve` as they were given; unset ones leave the word to environment, file and defaults.
type serveOptions struct {
	dataDir, listen, adminListen, peerListen string
	nodeID                                   int32
	configFile                               string
	sets                                     []string
}

// maxConfigFile bounds a properties file, in bytes.
const maxConfigFile = 1 << 20

// Environment variables of flags whose names are no configuration keys.
const (
	envListen      = config.EnvPrefix + "LISTEN"
	envAdminListen = config.EnvPrefix + "ADMIN_LISTEN"
	envPeerListen  = config.EnvPrefix + "PEER_LISTEN"
	envConfig      = config.EnvPrefix + "CONFIG"
)

func newServe(a *app) *cobra.Command {
	o := &serveOptions{}
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a node",
		Long: `Run a node: a Kafka-compatible broker on a data directory, which is created if it does not exist.

With no flags it listens on 127.0.0.1:9092 and keeps its data in ./chronik-data. One line with "ready" and the
addresses goes to stderr when requests are served; SIGTERM or SIGINT stops it cleanly with exit code 0.

Settings, the strongest first: flags, environment (CHRONIKD_LISTEN, CHRONIKD_ADMIN_LISTEN,
CHRONIKD_PEER_LISTEN, CHRONIKD_CONFIG, CHRONIKD_DATA_DIR, CHRONIKD_NODE_ID, and any key in capitals with _ for each dot, as CHRONIKD_NUM_PARTITIONS),
the properties file, defaults. An unknown key stops the start and names the nearest valid one.`,
		Example: `  chronik serve
  chronik serve --data-dir /tmp/chronik --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0
  chronik serve --set num.partitions=6 --set log.retention.hours=24`,
		GroupID: groupRun,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := o.resolve(cmd, os.Environ())
			if err != nil {
				return err
			}
			return hinted(a.serve(cfg), cfg.DataDir())
		},
	}
	o.flags(cmd)
	return marked(cmd, changesDir)
}

// flags are shared by everything that says how a node starts.
func (o *serveOptions) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.dataDir, "data-dir", "./chronik-data", "`DIR` that holds everything")
	f.StringVar(&o.listen, "listen", "127.0.0.1:9092", "`HOST:PORT` for Kafka clients; port 0 picks one")
	f.StringVar(&o.adminListen, "admin-listen", "127.0.0.1:9644", "`HOST:PORT` for metrics and health; port 0 picks one")
	f.StringVar(&o.peerListen, "peer-listen", "127.0.0.1:9192", "`HOST:PORT` for other nodes; port 0 picks one")
	f.Int32Var(&o.nodeID, "node-id", 1, "`N`, the node's number, fixed when the directory is created")
	f.StringVar(&o.configFile, "config", "", "`FILE` of settings, as Kafka's server.properties")
	f.StringArrayVar(&o.sets, "set", nil, "`KEY=VALUE`, a setting under Kafka's name; may be repeated")
}

// resolve merges flags, environment and file into a valid configuration.
func (o *serveOptions) resolve(cmd *cobra.Command, environ []string) (*config.Config, error) {
	cfg := config.New()
	file := o.configFile
	if file == "" {
		file = os.Getenv(envConfig)
	}
	if file != "" {
		text, err := vfs.ReadFile(vfs.OS, file, maxConfigFile)
		if err != nil {
			return nil, fmt.Errorf("cannot read the settings: %w", err)
		}
		if err := cfg.LoadProperties(file, text); err != nil {
			return nil, usage(err)
		}
	}
	if err := cfg.LoadEnv(environ, envListen, envAdminListen, envPeerListen, envConfig, envBootstrap); err != nil {
		return nil, usage(err)
	}
	if err := o.addresses(cfg, cmd.Flags().Changed); err != nil {
		return nil, usage(err)
	}
	for _, pair := range o.sets {
		if err := cfg.SetPair(pair, config.Flag, "--set "+pair); err != nil {
			return nil, usage(err)
		}
	}
	if err := cfg.Validate(); err != nil {
		return nil, usage(err)
	}
	return cfg, nil
}

// addresses applies the flags that have names of their own, and their environment variables.
func (o *serveOptions) addresses(cfg *config.Config, changed func(string) bool) error {
	const listeners, admin = "listeners", "chronik.admin.listener"
	if address := os.Getenv(envListen); address != "" {
		if err := cfg.Set(listeners, "PLAINTEXT://"+address, config.Env, "environment variable "+envListen); err != nil {
			return err
		}
	}
	if address := os.Getenv(envAdminListen); address != "" {
		if err := cfg.Set(admin, address, config.Env, "environment variable "+envAdminListen); err != nil {
			return err
		}
	}
	if address := os.Getenv(envPeerListen); address != "" {
		if err := cfg.Set(peerKey, address, config.Env, "environment variable "+envPeerListen); err != nil {
			return err
		}
	}
	for _, f := range []struct{ flag, key, value string }{
		{"data-dir", "log.dirs", o.dataDir},
		{"listen", listeners, "PLAINTEXT://" + o.listen},
		{"admin-listen", admin, o.adminListen},
		{"peer-listen", peerKey, o.peerListen},
		{"node-id", "node.id", strconv.Itoa(int(o.nodeID))},
	} {
		if !changed(f.flag) {
			continue
		}
		if err := cfg.Set(f.key, f.value, config.Flag, "--"+f.flag); err != nil {
			return err
		}
	}
	return nil
}

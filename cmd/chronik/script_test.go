package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"chronik": func() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
	})
}

// TestScripts runs the binary as a user would: every file of testdata/script is a test. Besides testscript's own commands there are
//
//	exits CODE ARGS...      chronik ARGS... ends with CODE
//	start DIR [ARGS...]     chronik serve on DIR in the background, until it is ready; $KAFKA, $ADMIN and $PEER are its addresses
//	shutdown, crash         end it with SIGTERM (exit 0 is required) or SIGKILL
//	produce TOPIC N         N records "value-1"... to partition 0 of TOPIC, acknowledged
//	consume TOPIC N         reads N records of TOPIC back and compares them
//	flip GLOB BYTE          flips one bit of the one file that GLOB matches; BYTE -N counts from the end, @TEXT is where TEXT is first
//	tear DIR                leaves the last group of the journal as an interrupted write does
//	rot DIR                 flips a bit in the last group of the journal, which nothing promised
//	newest DIR              $SEGMENT is the newest live segment of the journal
//	newer DIR               makes the identity one of a later format version
//	put GLOB BYTE TEXT      overwrites bytes
//	resize GLOB SIZE        truncates; SIZE -N cuts N bytes
//	snap-tree DIR           remembers every byte below DIR
//	same-tree DIR           fails if one has changed since
//	heal DIR CODE           doctor names CODE; only what the tools print is done, until doctor says to serve; $LOST is what they said is lost
//	balance N               orders-0 has N records, less what $LOST says
//	healed N                at least N incidents were healed
//	plan FILE               $ID and $LOSS are those of a plan
//	half DIR ID             makes a repair one that was interrupted
//	waitfor GROUP           until GROUP has a stable member
//	overlap DIR OFFSET      a partition's records from OFFSET on are also in a second segment
//	appears PATTERN         waits for a file
//	disk DIR MIB            mounts a file system of a size on DIR until the script ends, where the condition [tmpfs] holds
//	fill DIR                writes DIR/filler until the disk of DIR is full
//	get PATH CODE TEXT      the admin endpoint answers CODE and TEXT
func TestScripts(t *testing.T) {
	testscript.Run(t, scriptParams("testdata/script"))
}

func scriptParams(dir string) testscript.Params {
	return testscript.Params{
		Dir:       dir,
		Condition: condition,
		Setup:     func(env *testscript.Env) error { env.Values["node"] = &testNode{}; return nil },
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": cmdExits, "start": cmdStart, "shutdown": cmdShutdown, "crash": cmdCrash, "produce": cmdProduce, "consume": cmdConsume,
			"flip": cmdFlip, "put": cmdPut, "tear": cmdTear, "rot": cmdRot, "newer": cmdNewer, "resize": cmdResize, "get": cmdGet, "waitfor": cmdWaitFor,
			"snap-tree": cmdSnapTree, "same-tree": cmdSameTree,
			"plan": cmdPlan, "newest": cmdNewest, "overlap": cmdOverlap, "appears": cmdAppears,
			"disk": cmdDisk, "fill": cmdFill, "heal": cmdHeal, "healed": cmdHealed, "balance": cmdBalance, "half": cmdHalf,
		},
	}
}

func cmdExits(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 1 {
		ts.Fatalf("usage: exits CODE ARGS...")
	}
	code := 0
	var exit *exec.ExitError
	if err := ts.Exec("chronik", args[1:]...); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("chronik: %v", err)
	}
	if args[0] != strconv.Itoa(code) {
		ts.Fatalf("chronik %s: exit %d, want %s\n%s%s", strings.Join(args[1:], " "), code, args[0], ts.ReadFile("stdout"), ts.ReadFile("stderr"))
	}
}

// testNode is the node that a script runs.
type testNode struct {
	cmd *exec.Cmd
	log string
}

func nodeOf(ts *testscript.TestScript) *testNode {
	n, ok := ts.Value("node").(*testNode)
	if !ok {
		ts.Fatalf("no node in the environment")
	}
	return n
}

var readyLine = regexp.MustCompile(`^ready: kafka (\S+), admin (\S+), peer (\S+), node \d+, cluster \S+, data `)

func cmdStart(ts *testscript.TestScript, _ bool, args []string) {
	n := nodeOf(ts)
	if n.cmd != nil || len(args) < 1 {
		ts.Fatalf("usage: start DIR [ARGS...], once")
	}
	chronik, err := exec.LookPath("chronik")
	ts.Check(err)
	serve := []string{"serve", "--data-dir", args[0], "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--peer-listen", "127.0.0.1:0"}
	n.cmd = exec.Command(chronik, append(serve, args[1:]...)...)
	n.cmd.Dir = ts.MkAbs(".")
	stderr, err := n.cmd.StderrPipe()
	ts.Check(err)
	ts.Check(n.cmd.Start())
	ts.Defer(func() {
		if n.cmd != nil {
			_ = n.cmd.Process.Kill() // the script failed
			_ = n.cmd.Wait()
		}
	})
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		n.log += lines.Text() + "\n"
		if m := readyLine.FindStringSubmatch(lines.Text()); m != nil {
			ts.Setenv("KAFKA", m[1])
			ts.Setenv("ADMIN", m[2])
			ts.Setenv("PEER", m[3])

			go func() { _, _ = io.Copy(io.Discard, stderr) }()
			return
		}
	}
	ts.Fatalf("the node ended before it was ready:\n%s", n.log)
}

func cmdShutdown(ts *testscript.TestScript, _ bool, _ []string) {
	n := nodeOf(ts)
	ts.Check(n.cmd.Process.Signal(syscall.SIGTERM))
	if err := n.cmd.Wait(); err != nil {
		ts.Fatalf("SIGTERM: %v", err)
	}
	n.cmd = nil
}

func cmdCrash(ts *testscript.TestScript, _ bool, _ []string) {
	n := nodeOf(ts)
	ts.Check(n.cmd.Process.Kill())
	_ = n.cmd.Wait() // "signal: killed"
	n.cmd = nil
}

func topicAndCount(ts *testscript.TestScript, args []string) (string, int) {
	if len(args) != 2 {
		ts.Fatalf("usage: produce|consume TOPIC N")
	}
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	return args[0], n
}

// clientTimeout is generous: the machine may be busy, and nothing is measured.
const clientTimeout = 2 * time.Minute

func cmdProduce(ts *testscript.TestScript, _ bool, args []string) {
	topic, count := topicAndCount(ts, args)
	client, err := kgo.NewClient(kgo.SeedBrokers(ts.Getenv("KAFKA")), kgo.DefaultProduceTopic(topic), kgo.AllowAutoTopicCreation(),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerLinger(0))
	ts.Check(err)
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), clientTimeout)
	defer cancel()
	for i := 1; i <= count; i++ {
		r := &kgo.Record{Key: []byte(fmt.Sprintf("key-%d", i)), Value: []byte(fmt.Sprintf("value-%d", i))}
		ts.Check(client.ProduceSync(ctx, r).FirstErr())
	}
}

func cmdConsume(ts *testscript.TestScript, _ bool, args []string) {
	topic, count := topicAndCount(ts, args)
	client, err := kgo.NewClient(kgo.SeedBrokers(ts.Getenv("KAFKA")), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	ts.Check(err)
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), clientTimeout)
	defer cancel()
	for got := 0; got < count; {
		fetches := client.PollFetches(ctx)
		ts.Check(fetches.Err())
		fetches.EachRecord(func(r *kgo.Record) {
			got++
			if want := fmt.Sprintf("value-%d", r.Offset+1); string(r.Value) != want {
				ts.Fatalf("offset %d of %s: %q, want %q", r.Offset, topic, r.Value, want)
			}
		})
	}
}

func cmdWaitFor(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: waitfor GROUP")
	}
	client, err := kadm.NewOptClient(kgo.SeedBrokers(ts.Getenv("KAFKA")))
	ts.Check(err)
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), clientTimeout)
	defer cancel()
	for {
		groups, err := client.DescribeGroups(ctx, args[0])
		ts.Check(err)
		if groups[args[0]].State == "Stable" {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// theFile returns the one file that a pattern matches.
func theFile(ts *testscript.TestScript, pattern string) string {
	names, err := filepath.Glob(ts.MkAbs(pattern))
	ts.Check(err)
	if len(names) != 1 {
		ts.Fatalf("%s matches %d files: %v", pattern, len(names), names)
	}
	return names[0]
}

// position returns a byte position; negative ones count from the end, @TEXT is where TEXT is.
func position(ts *testscript.TestScript, name, text string) int64 {
	if what, ok := strings.CutPrefix(text, "@"); ok {
		content, err := os.ReadFile(name)
		ts.Check(err)
		at := bytes.Index(content, []byte(what))
		if at < 0 {
			ts.Fatalf("%s does not hold %q", name, what)
		}
		return int64(at)
	}
	n, err := strconv.ParseInt(text, 10, 64)
	ts.Check(err)
	if strings.HasPrefix(text, "-") {
		info, err := os.Stat(name)
		ts.Check(err)
		n += info.Size()
	}
	return n
}

func cmdFlip(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: flip GLOB BYTE")
	}
	name := theFile(ts, args[0])
	at := position(ts, name, args[1])
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	ts.Check(err)
	b := make([]byte, 1)
	_, err = f.ReadAt(b, at)
	ts.Check(err)
	b[0] ^= 0x80
	_, err = f.WriteAt(b, at)
	ts.Check(errors.Join(err, f.Close()))
}

func cmdPut(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: put GLOB BYTE TEXT")
	}
	name := theFile(ts, args[0])
	text, err := strconv.Unquote(`"` + args[2] + `"`)
	ts.Check(err)
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	ts.Check(err)
	_, err = f.WriteAt([]byte(text), position(ts, name, args[1]))
	ts.Check(errors.Join(err, f.Close()))
}

func cmdResize(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: resize GLOB SIZE")
	}
	name := theFile(ts, args[0])
	ts.Check(os.Truncate(name, position(ts, name, args[1])))
}

func cmdGet(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: get PATH CODE TEXT")
	}
	resp, err := http.Get("http://" + ts.Getenv("ADMIN") + args[0])
	ts.Check(err)
	body, err := io.ReadAll(resp.Body)
	ts.Check(errors.Join(err, resp.Body.Close()))
	if strconv.Itoa(resp.StatusCode) != args[1] || !strings.Contains(string(body), args[2]) {
		ts.Fatalf("%s answers %s and %s", args[0], resp.Status, body)
	}
}

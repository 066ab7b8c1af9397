package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain builds both programs as they are installed, so that the scripts run
// what people run.
func TestMain(m *testing.M) {
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	bin, err := os.MkdirTemp("", "gitpeer-bin")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(bin)
	build := exec.Command("go", "build", "-o", bin+string(filepath.Separator), ".", "../git-remote-gitpeer")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return 1
	}
	os.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	return m.Run()
}

// TestScripts runs the scripts of testdata/script. Besides testscript's own
// commands they have
//
//	as NAME            be somebody: a GITPEER_HOME, and a name for commits
//	gpgkey NAME        make an OpenPGP key and the file NAME.asc, and set
//	                   $NAME to its fingerprint; commits of NAME are signed
//	                   with it
//	output NAME        set $NAME to what the last command printed
func TestScripts(t *testing.T) {
	bootstrap := startTestnet(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup:               func(e *testscript.Env) error { return setup(e, bootstrap) },
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"as": cmdAs, "gpgkey": cmdGPGKey, "output": cmdOutput,
		},
	})
}

// startTestnet runs `gitpeer testnet` for all scripts and returns what it
// prints: the value of GITPEER_BOOTSTRAP.
func startTestnet(t *testing.T) string {
	t.Helper()
	cmd := exec.Command("gitpeer", "testnet", "--nodes", "20")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		io.Copy(io.Discard, stdout)
		if err := cmd.Wait(); err != nil {
			t.Errorf("gitpeer testnet ends with %v after an interrupt: %s", err, &stderr)
		}
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	bootstrap, ok := strings.CutPrefix(strings.TrimSpace(line), "bootstrap 127.0.0.1:")
	if err != nil || !ok {
		t.Fatalf("the first line of gitpeer testnet is %q, %v: %s", line, err, &stderr)
	}
	return "127.0.0.1:" + bootstrap
}

// setup gives a script folders, an environment of its own, and an end to the
// nodes that it started.
func setup(e *testscript.Env, bootstrap string) error {
	home := filepath.Join(e.WorkDir, "home")
	// GnuPG's agent puts a socket there, whose path must be short.
	gnupg, err := os.MkdirTemp("", "gp")
	if err != nil {
		return err
	}
	if err := os.Mkdir(home, 0o700); err != nil {
		return err
	}
	config := "[init]\n\tdefaultBranch = main\n[advice]\n\tdetachedHead = false\n[gc]\n\tauto = 0\n"
	if err := os.WriteFile(filepath.Join(home, ".gitconfig"), []byte(config), 0o600); err != nil {
		return err
	}
	for name, value := range map[string]string{
		"HOME": home, "GNUPGHOME": gnupg, "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C", "TZ": "UTC",
		"GITPEER_BOOTSTRAP": bootstrap, "GITPEER_LISTEN": "127.0.0.1:0", "GITPEER_HOME": filepath.Join(e.WorkDir, "nobody"),
		"SSH_AUTH_SOCK": "", "GOCOVERDIR": os.Getenv("GOCOVERDIR"),
	} {
		e.Setenv(name, value)
	}
	e.Defer(func() {
		endNodes(e)
		exec.Command("gpgconf", "--homedir", gnupg, "--kill", "all").Run()
		os.RemoveAll(gnupg)
	})
	return nil
}

// endNodes ends the nodes that the script has left running.
func endNodes(e *testscript.Env) {
	sockets, err := filepath.Glob(filepath.Join(e.WorkDir, "*", "lock"))
	if err != nil {
		e.T().Fatal(err)
	}
	for _, lock := range sockets {
		stop := exec.Command("gitpeer", "stop")
		stop.Env = append(os.Environ(), "GITPEER_HOME="+filepath.Dir(lock))
		if out, err := stop.CombinedOutput(); err != nil {
			e.T().Log("gitpeer stop:", err, string(out))
		}
	}
}

func cmdAs(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: as NAME")
	}
	name := args[0]
	ts.Setenv("GITPEER_HOME", ts.MkAbs(filepath.Join(ts.Getenv("WORK"), name)))
	for _, who := range []string{"AUTHOR", "COMMITTER"} {
		ts.Setenv("GIT_"+who+"_NAME", name)
		ts.Setenv("GIT_"+who+"_EMAIL", name+"@example.org")
	}
	// Signing takes the key of that mail address, if there is one.
	ts.Setenv("GIT_CONFIG_COUNT", "1")
	ts.Setenv("GIT_CONFIG_KEY_0", "user.signingkey")
	ts.Setenv("GIT_CONFIG_VALUE_0", name+"@example.org")
}

func cmdGPGKey(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: gpgkey NAME")
	}
	mail := args[0] + "@example.org"
	gpg := func(args ...string) string {
		cmd := exec.CommandContext(context.Background(), "gpg", append([]string{"--batch", "--quiet", "--no-tty", "--pinentry-mode", "loopback", "--passphrase", ""}, args...)...)
		cmd.Env = append(os.Environ(), "GNUPGHOME="+ts.Getenv("GNUPGHOME"))
		out, err := cmd.Output()
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			ts.Fatalf("gpg %q: %v\n%s", args, err, exit.Stderr)
		}
		ts.Check(err)
		return string(out)
	}
	gpg("--quick-gen-key", args[0]+" <"+mail+">", "ed25519", "sign", "never")
	for line := range strings.Lines(gpg("--with-colons", "--list-keys", mail)) {
		if fields := strings.Split(line, ":"); fields[0] == "fpr" {
			ts.Setenv(args[0], fields[9])
			break
		}
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".asc"), []byte(gpg("--armor", "--export", mail)), 0o644))
}

func cmdOutput(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: output NAME")
	}
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile("stdout")))
}

// TestTestnetStatus: the exit status of the command is that of testnet, and a
// signal reaches the command.
func TestTestnetStatus(t *testing.T) {
	for _, test := range []struct {
		script string
		want   int
	}{
		{`test -n "$GITPEER_BOOTSTRAP" && test "$GITPEER_LISTEN" = 127.0.0.1:0`, 0},
		{"exit 7", 7},
		{"kill -TERM $$", 128 + int(syscall.SIGTERM)},
		{`trap "exit 9" TERM; kill -TERM $PPID; i=0; while [ $i -lt 1000 ]; do i=$((i+1)); sleep 0.01; done`, 9},
	} {
		cmd := exec.Command("gitpeer", "testnet", "--nodes", "3", "--", "sh", "-c", test.script)
		out, err := cmd.CombinedOutput()
		if got := cmd.ProcessState.ExitCode(); got != test.want || len(out) > 0 {
			t.Errorf("testnet -- sh -c %q: %v, exit status %d, prints %q, want %d and nothing", test.script, err, got, out, test.want)
		}
	}
}

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// An actor is somebody with a home and work of their own, who runs the programs.
// Their node starts when it is needed and ends with the test.
type actor struct {
	t   *testing.T
	dir string
	env []string
}

func newActor(t *testing.T, name, bootstrap string) *actor {
	dir := filepath.Join(t.TempDir(), name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s := &actor{t: t, dir: dir, env: append(os.Environ(), "GITPEER_HOME="+filepath.Join(dir, "home"), "HOME="+dir,
		"GITPEER_BOOTSTRAP="+bootstrap, "GITPEER_LISTEN=127.0.0.1:0", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull,
		"GIT_AUTHOR_NAME=A", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_COMMITTER_NAME=A", "GIT_COMMITTER_EMAIL=a@example.org")}
	t.Cleanup(func() { s.try("gitpeer", "stop") })
	return s
}

func (s *actor) command(args ...string) *exec.Cmd {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir, cmd.Env = s.dir, s.env
	return cmd
}

func (s *actor) try(args ...string) (string, error) {
	out, err := s.command(args...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func (s *actor) must(args ...string) string {
	s.t.Helper()
	out, err := s.try(args...)
	if err != nil {
		s.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

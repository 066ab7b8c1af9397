package main

import (
	"cmp"
	"context"
	"runtime"
	"runtime/debug"
)

// version is set by the linker (make build), to what git describe says. It is
// empty in a program that go build or go install made, which know by themselves.
var version string

// A buildInfo says which gitpeer this is.
type buildInfo struct {
	Version  string `json:"version"`            // of the module; (devel) in a work tree
	Revision string `json:"revision,omitempty"` // commit it was built from
	Modified bool   `json:"modified,omitempty"` // with changes that are not in that commit
	Go       string `json:"go"`
	OS       string `json:"os"`
	Arch     string `json:"arch"`
}

func thisVersion() buildInfo {
	v := buildInfo{Version: cmp.Or(version, "(devel)"), Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v // not built by the go command
	}
	v.Version = cmp.Or(version, info.Main.Version, v.Version)
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Revision = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	return v
}

func versionCommand() *command {
	return &command{
		name: "version", short: "print the version",
		long: `Prints the version.

    --json           print an object: version, revision, modified, go, os, arch
`,
		run: func(ctx context.Context, e *env, args []string) error {
			f := newFlags("version")
			asJSON := f.json()
			if _, err := f.parse(args, 0, 0); err != nil {
				return err
			}
			v := thisVersion()
			if *asJSON {
				e.ui.JSON(v)
				return nil
			}
			e.ui.Printf("gitpeer %s (%s, %s/%s)\n", v.Version, v.Go, v.OS, v.Arch)
			return nil
		},
	}
}

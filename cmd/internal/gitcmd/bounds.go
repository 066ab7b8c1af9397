package gitcmd

import (
	"io"
	"os/exec"
)

// bounds are what a git process that reads foreign bytes may use. They are no
// measure of what it needs: they end one that was led astray, before it takes
// the computer with it. 0 is no bound. Only Linux has them.
type bounds struct {
	memory uint64 // bytes of address space
	cpu    uint64 // seconds
}

const (
	// indexMemory is for git, its threads and the maps of the mirror's packs.
	indexMemory = 8 << 30
	// indexObjectMemory is what index-pack keeps of each object, with the index.
	indexObjectMemory = 256
	// indexCPU is where the slowest computer still is in time: with one second
	// for each of these many bytes of pack, and of objects.
	indexCPU         = 600
	indexPackRate    = 1 << 20
	indexInflateRate = 16 << 20
	// indexLargest is how many objects of the largest size are in memory at once:
	// a delta, its base, its result, and one more.
	indexLargest = 4
)

// bounds of an index-pack that takes in what o declares.
func (o IndexOptions) bounds() bounds {
	if o.Objects == 0 {
		return bounds{}
	}
	return bounds{
		memory: indexMemory + uint64(o.Objects)*indexObjectMemory + uint64(o.Object)*indexLargest,
		cpu:    indexCPU + uint64(o.MaxInput)/indexPackRate + uint64(o.Inflated)/indexInflateRate,
	}
}

// pipeWithin is pipe within bounds.
func pipeWithin(cmd *exec.Cmd, b bounds, stdin io.Reader, stdout io.Writer) error {
	stderr := &tail{max: maxStderr}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, stderr
	if err := cmd.Start(); err != nil {
		return failure(cmd, stderr, err)
	}
	// It has read nothing of stdin yet that could do harm, if it runs at all.
	if err := b.impose(cmd.Process.Pid); err != nil {
		cmd.Process.Kill()
		cmd.Wait()
		return failure(cmd, stderr, err)
	}
	return failure(cmd, stderr, cmd.Wait())
}

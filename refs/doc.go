// Package refs is the format of what a publisher signs: snapshots, records,
// names and the pack plan.
package refs

package swarm

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func testTable(nodes int) savedTable {
	t := savedTable{id: NodeID{1, 2, 3}}
	for i := range nodes {
		t.nodes = append(t.nodes, savedNode{
			id:   NodeID{0xff, byte(i >> 8), byte(i)},
			addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 6881),
		})
	}
	return t
}

func TestTableFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dht")
	if got, err := loadTable(path); err != nil || got.id != (NodeID{}) {
		t.Errorf("loadTable(missing) = %v, %v; want an empty table", got, err)
	}
	for _, n := range []int{0, 1, 200} {
		want := testTable(n)
		if err := saveTable(path, want); err != nil {
			t.Fatal(err)
		}
		if got, err := loadTable(path); err != nil || !reflect.DeepEqual(got.normal(), want.normal()) {
			t.Errorf("%d nodes: loadTable(saveTable(…)) = %v, %v", n, got, err)
		}
	}
	if err := saveTable(path, testTable(1000)); err != nil {
		t.Fatal(err)
	}
	if got, err := loadTable(path); err != nil || len(got.nodes) != maxSaved {
		t.Errorf("of 1000 nodes %d are saved, %v; want %d", len(got.nodes), err, maxSaved)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("the directory has %d files, want the table alone", len(entries))
	}
}

func TestTableFileFailures(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "none", "dht")
	if err := saveTable(path, testTable(1)); err == nil {
		t.Error("saveTable into a missing directory = nil")
	}
	// A failing rename leaves nothing behind.
	path = filepath.Join(dir, "taken")
	if err := os.MkdirAll(filepath.Join(path, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := saveTable(path, testTable(1)); err == nil {
		t.Error("saveTable over a directory = nil")
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("saveTable left %d files, want the directory alone", len(entries))
	}
	if _, err := loadTable(path); err == nil {
		t.Error("loadTable of a directory = nil")
	}
	path = filepath.Join(dir, "long")
	if err := os.WriteFile(path, bytes.Repeat([]byte("x"), 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := loadTable(path); !errors.Is(err, errTable) {
		t.Errorf("loadTable(1 MiB of x) = %v, want %v", err, errTable)
	}
}

func TestParseTableRefuses(t *testing.T) {
	id := strings.Repeat("01", 20)
	node := strings.Repeat("ab", 20)
	head := tableHeader + "id " + id + "\n"
	if _, err := parseTable([]byte(head + "node " + node + " 192.0.2.1:6881\n")); err != nil {
		t.Fatalf("parseTable = %v", err)
	}
	for name, text := range map[string]string{
		"empty":           "",
		"no id":           tableHeader,
		"zero id":         tableHeader + "id " + strings.Repeat("0", 40) + "\n",
		"short id":        tableHeader + "id 01\n",
		"long id":         tableHeader + "id " + id + "00\n",
		"upper case":      tableHeader + "id " + strings.Repeat("AB", 20) + "\n",
		"two ids":         head + "id " + id + "\n",
		"other version":   strings.Replace(head, "v1", "v2", 1),
		"no newline":      strings.TrimSuffix(head, "\n"),
		"empty line":      head + "\n",
		"unknown line":    head + "peer x\n",
		"port 0":          head + "node " + node + " 192.0.2.1:0\n",
		"IPv6":            head + "node " + node + " [2001:db8::1]:1\n",
		"mapped":          head + "node " + node + " [::ffff:192.0.2.1]:1\n",
		"multicast":       head + "node " + node + " 224.0.0.1:1\n",
		"unspecified":     head + "node " + node + " 0.0.0.0:1\n",
		"broadcast":       head + "node " + node + " 255.255.255.255:1\n",
		"own id":          head + "node " + id + " 192.0.2.1:1\n",
		"twice":           head + strings.Repeat("node "+node+" 192.0.2.1:6881\n", 2),
		"unsorted":        head + "node " + node + " 192.0.2.1:6881\nnode " + id[2:] + "02 192.0.2.1:6881\n",
		"two spaces":      head + "node  " + node + " 192.0.2.1:6881\n",
		"carriage return": head + "node " + node + " 192.0.2.1:6881\r\n",
		"too many":        head + manyNodes(maxSaved+1),
	} {
		if got, err := parseTable([]byte(text)); !errors.Is(err, errTable) {
			t.Errorf("%s: parseTable(%q) = %v, %v; want %v", name, text, got, err, errTable)
		}
	}
}

func manyNodes(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "node ab%038x 192.0.2.1:6881\n", i)
	}
	return b.String()
}

func FuzzParseTable(f *testing.F) {
	for _, n := range []int{0, 1, 3} {
		f.Add(testTable(n).format())
	}
	f.Add([]byte(tableHeader))
	f.Fuzz(func(t *testing.T, text []byte) {
		table, err := parseTable(text)
		if err == nil && !bytes.Equal(table.format(), text) {
			t.Errorf("format(parseTable(%q)) = %q", text, table.format())
		}
	})
}

// Verifies test/vectors/ledger with Go's own transparency log code (golang.org/x/mod/sumdb), which shares no line with
// ours: the signed note and its cosignatures, every tile, every entry, and both kinds of proof.
package main

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type testCase struct {
	Log         string
	Witnesses   []string
	Index       int64
	Entry       []byte
	Inclusion   []tlog.Hash
	OlderSize   int64
	OlderRoot   tlog.Hash
	Consistency []tlog.Hash
}

func must[T any](value T, err error) T {
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	return value
}

// A cosignature/v1 key (c2sp.org/tlog-cosignature), which x/mod does not know.
type witness struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

func newWitness(vkey string) witness {
	parts := strings.SplitN(vkey, "+", 3)
	key := must(base64.StdEncoding.DecodeString(parts[2]))
	sum := sha256.Sum256(append([]byte(parts[0]+"\n"), key...))
	hash := binary.BigEndian.Uint32(sum[:4])
	if key[0] != 4 || fmt.Sprintf("%08x", hash) != parts[1] {
		must(0, fmt.Errorf("not a cosignature key: %s", vkey))
	}
	return witness{parts[0], hash, key[1:]}
}

func (w witness) Name() string    { return w.name }
func (w witness) KeyHash() uint32 { return w.hash }
func (w witness) Verify(text, sig []byte) bool {
	if len(sig) != 8+ed25519.SignatureSize {
		return false
	}
	time := strconv.FormatUint(binary.BigEndian.Uint64(sig), 10)
	return ed25519.Verify(w.key, append([]byte("cosignature/v1\ntime "+time+"\n"), text...), sig[8:])
}

// Tiles of height 8 in a directory; tlog-tiles leaves the height out of the path.
type tiles string

func (dir tiles) Height() int                         { return 8 }
func (dir tiles) SaveTiles(t []tlog.Tile, d [][]byte) {}
func (dir tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var data [][]byte
	for _, tile := range wanted {
		name := strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
		bytes, err := os.ReadFile(filepath.Join(string(dir), name))
		if err != nil {
			return nil, err
		}
		data = append(data, bytes)
	}
	return data, nil
}

func readEntries(dir string, size int64) [][]byte {
	var entries [][]byte
	for n := int64(0); n*256 < size; n++ {
		tile := tlog.Tile{H: 8, L: 0, N: n, W: int(min(256, size-n*256))}
		name := strings.Replace(tile.Path(), "tile/8/0/", "tile/entries/", 1)
		bundle := must(os.ReadFile(filepath.Join(dir, name)))
		for len(bundle) > 0 {
			end := 2 + int(binary.BigEndian.Uint16(bundle))
			entries = append(entries, bundle[2:end])
			bundle = bundle[end:]
		}
	}
	return entries
}

func min(a, b int64) int64 {
	if a < b {
		return a
	}
	return b
}

func main() {
	dir := filepath.Join(os.Args[1], "log")
	var c testCase
	must(0, json.Unmarshal(must(os.ReadFile(filepath.Join(os.Args[1], "case.json"))), &c))

	verifiers := []note.Verifier{must(note.NewVerifier(c.Log))}
	for _, vkey := range c.Witnesses {
		verifiers = append(verifiers, newWitness(vkey))
	}
	opened := must(note.Open(must(os.ReadFile(filepath.Join(dir, "checkpoint"))), note.VerifierList(verifiers...)))
	fmt.Println("signatures verified:", len(opened.Sigs), "unverified:", len(opened.UnverifiedSigs))

	lines := strings.Split(opened.Text, "\n")
	tree := tlog.Tree{N: must(strconv.ParseInt(lines[1], 10, 64)), Hash: must(tlog.ParseHash(lines[2]))}
	fmt.Println("size:", tree.N)

	entries := readEntries(dir, tree.N)
	var stored []tlog.Hash
	memory := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		var hashes []tlog.Hash
		for _, at := range indexes {
			hashes = append(hashes, stored[at])
		}
		return hashes, nil
	})
	for at, entry := range entries {
		stored = append(stored, must(tlog.StoredHashes(int64(at), entry, memory))...)
	}
	fmt.Println("root of the entries:", must(tlog.TreeHash(int64(len(entries)), memory)) == tree.Hash)

	reader := tlog.TileHashReader(tree, tiles(dir))
	fmt.Println("root of the tiles:", must(tlog.TreeHash(tree.N, reader)) == tree.Hash)
	same := true
	for at := range entries {
		proof := must(tlog.ProveRecord(tree.N, int64(at), reader))
		same = same && tlog.CheckRecord(proof, tree.N, tree.Hash, int64(at), tlog.RecordHash(entries[at])) == nil
	}
	fmt.Println("every entry is in its tiles:", same)

	check := func(entry []byte) error {
		return tlog.CheckRecord(c.Inclusion, tree.N, tree.Hash, c.Index, tlog.RecordHash(entry))
	}
	fmt.Println("inclusion:", check(c.Entry))
	fmt.Println("consistency:", tlog.CheckTree(c.Consistency, tree.N, tree.Hash, c.OlderSize, c.OlderRoot))
	c.Entry[3] ^= 1
	fmt.Println("inclusion of a changed entry:", check(c.Entry))
	c.OlderRoot[0] ^= 1
	fmt.Println("consistency with another root:", tlog.CheckTree(c.Consistency, tree.N, tree.Hash, c.OlderSize, c.OlderRoot))
	if !same {
		os.Exit(1)
	}
}

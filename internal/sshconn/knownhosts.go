package sshconn

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	skeema "github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh/knownhosts"
)

// knownHosts is what the known_hosts files say (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT).
type knownHosts struct {
	db *skeema.HostKeyDB
	// first is the file to add a line to, and bad what was left out and why.
	first string
	bad   []string
	// original names the file that a copy without its bad lines stands for.
	original map[string]string
}

// maxLine is the longest line that the library's scanner takes.
const maxLine = 64 << 10

// readKnownHosts reads files. One that is missing is no error, and a line that cannot be read is left out: the library would refuse the whole file.
func readKnownHosts(files []string) (*knownHosts, error) {
	k := &knownHosts{first: "known_hosts", original: map[string]string{}}
	if len(files) > 0 {
		k.first = files[0]
	}
	texts, names := map[string][]byte{}, []string{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		switch {
		case err == nil:
			texts[f], names = text, append(names, f)
		case !errors.Is(err, fs.ErrNotExist):
			k.bad = append(k.bad, err.Error())
		}
	}
	var err error
	if k.db, err = skeema.NewDB(names...); err == nil {
		return k, nil
	}

	dir, err := os.MkdirTemp("", "known_hosts-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	copies := make([]string, len(names))
	for i, f := range names {
		copies[i] = filepath.Join(dir, strconv.Itoa(i))
		k.original[copies[i]] = f
		if err := k.sieve(f, copies[i], texts[f]); err != nil {
			return nil, err
		}
	}
	k.db, err = skeema.NewDB(copies...)
	return k, err
}

// sieve writes a copy of a file in which each bad line is empty, so that the other lines keep their numbers.
func (k *knownHosts) sieve(file, copied string, text []byte) error {
	lines := bytes.Split(text, []byte("\n"))
	drop := func(i int, why string) {
		k.bad = append(k.bad, fmt.Sprintf("%s:%d (%s)", file, i+1, why))
		lines[i] = nil
	}
	for i, l := range lines {
		if len(l) >= maxLine {
			drop(i, "line too long")
		}
	}
	for range len(lines) + 1 {
		if err := os.WriteFile(copied, bytes.Join(lines, []byte("\n")), 0o600); err != nil {
			return err
		}
		_, err := knownhosts.New(copied)
		if err == nil {
			return nil
		}
		at, ok := strings.CutPrefix(err.Error(), "knownhosts: "+copied+":")
		number, why, _ := strings.Cut(at, ": ")
		n, numErr := strconv.Atoi(number)
		if !ok || numErr != nil || n < 1 || n > len(lines) || lines[n-1] == nil {
			return err
		}
		drop(n-1, strings.TrimPrefix(why, "knownhosts: "))
	}
	return nil
}

// place is where a key stands, "file:line".
func (k *knownHosts) place(key knownhosts.KnownKey) string {
	file := key.Filename
	if o, ok := k.original[file]; ok {
		file = o
	}
	return fmt.Sprintf("%s:%d", file, key.Line)
}

package hostkey

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	skeema "github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// knownHosts is what the known_hosts files say (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT).
type knownHosts struct {
	db *skeema.HostKeyDB
	// first is the file to add a line to, and bad what was left out and why.
	first string
	bad   []string
	// original names the file that a copy with other lines stands for.
	original map[string]string
	texts    map[string][]byte
	// revoked are keys that lines revoke which the library cannot read, for every host, with the place of the line.
	revoked map[string]string
}

// maxLine is the longest line that the library's scanner takes.
const maxLine = 64 << 10

// readKnownHosts reads files. One that is missing is no error, and a line that cannot be read is left out: the library
// would refuse the whole file. Names count in small letters, as they do for ssh.
func readKnownHosts(files []string) (*knownHosts, error) {
	k := &knownHosts{first: "known_hosts", original: map[string]string{}, texts: map[string][]byte{},
		revoked: map[string]string{}}
	if len(files) > 0 {
		k.first = files[0]
	}
	var names []string
	for _, f := range files {
		text, err := os.ReadFile(f)
		switch {
		case err == nil:
			k.texts[f], names = text, append(names, f)
		case !errors.Is(err, fs.ErrNotExist):
			k.bad = append(k.bad, err.Error())
		}
	}
	small, same := map[string][]byte{}, true
	for f, text := range k.texts {
		small[f] = smallNames(text)
		same = same && bytes.Equal(small[f], text)
	}
	var err error
	if same {
		if k.db, err = skeema.NewDB(names...); err == nil {
			return k, nil
		}
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
		if err := k.sieve(f, copies[i], small[f]); err != nil {
			return nil, err
		}
	}
	k.db, err = skeema.NewDB(copies...)
	return k, err
}

// smallNames is a file in whose lines the names of hosts are in small letters, but for those that are hashed.
func smallNames(text []byte) []byte {
	lines := bytes.Split(text, []byte("\n"))
	for i, l := range lines {
		rest := bytes.TrimLeft(l, " \t")
		if end := bytes.IndexAny(rest, " \t"); end > 0 && rest[0] == '@' {
			rest = bytes.TrimLeft(rest[end:], " \t")
		}
		if end := bytes.IndexAny(rest, " \t"); end > 0 && rest[0] != '|' {
			lines[i] = slices.Concat(l[:len(l)-len(rest)], bytes.ToLower(rest[:end]), rest[end:])
		}
	}
	return bytes.Join(lines, []byte("\n"))
}

// sieve writes a copy of a file in which each bad line is empty, so that the other lines keep their numbers.
func (k *knownHosts) sieve(file, copied string, text []byte) error {
	lines := bytes.Split(text, []byte("\n"))
	drop := func(i int, why string) {
		k.bad = append(k.bad, fmt.Sprintf("%s:%d (%s)", file, i+1, why))
		if words := bytes.Fields(lines[i]); len(words) > 3 && string(words[0]) == "@revoked" {
			if key, _, _, _, err := ssh.ParseAuthorizedKey(bytes.Join(words[2:4], []byte(" "))); err == nil {
				k.revoked[string(key.Marshal())] = fmt.Sprintf("%s:%d", file, i+1)
			}
		}
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

// check is what the files make of a host's key: nil, or the library's error. As for ssh, a key that is known for the
// host without its port is good where none is known for the port.
func (k *knownHosts) check(addr string, remote net.Addr, key ssh.PublicKey) error {
	err := k.db.HostKeyCallback()(addr, remote, key)
	at22, ok := withoutPort(addr)
	if !ok || err == nil {
		return err
	}
	var known *knownhosts.KeyError
	// The library asks again with port 22, since a line with a wildcard counts for every port, and spells an IPv6 address
	// wrongly then.
	misspelled := strings.Contains(err.Error(), "SplitHostPort") || strings.Contains(addr, "[") &&
		strings.Contains(err.Error(), "no authorities for hostname")
	if !misspelled && !strings.Contains(err.Error(), "no authorities for hostname") &&
		!(errors.As(err, &known) && len(known.Want) == 0) {
		return err
	}
	again := k.db.HostKeyCallback()(at22, remote, key)
	switch {
	case again == nil || misspelled && !errors.As(again, &known):
		return again
	case !misspelled && !errors.As(again, &known) && !strings.Contains(again.Error(), "no authorities for hostname"):
		return again // what is wrong with a certificate, say
	case misspelled:
		return &knownhosts.KeyError{Want: slices.DeleteFunc(slices.Clone(known.Want),
			func(w knownhosts.KnownKey) bool { return !k.wildcard(w) })}
	default:
		return err
	}
}

// keys are those that the files have for a host, and the authorities for it.
func (k *knownHosts) keys(addr string) []skeema.PublicKey {
	keys := k.db.HostKeys(addr)
	if at22, ok := withoutPort(addr); ok {
		keys = append(keys, k.db.HostKeys(at22)...)
	}
	return keys
}

// algorithms are those of the keys that the files have for a host.
func (k *knownHosts) algorithms(addr string) []string {
	names := k.db.HostKeyAlgorithms(addr)
	if at22, ok := withoutPort(addr); ok {
		names = append(names, k.db.HostKeyAlgorithms(at22)...)
	}
	return names
}

// withoutPort is the address that lines without a port stand for; false where addr is one.
func withoutPort(addr string) (at22 string, ok bool) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || port == "22" {
		return "", false
	}
	return net.JoinHostPort(host, "22"), true
}

// wildcard reports whether the line of a key names hosts by a wildcard.
func (k *knownHosts) wildcard(key knownhosts.KnownKey) bool {
	lines := bytes.Split(k.texts[k.file(key)], []byte("\n"))
	if key.Line > len(lines) {
		return false
	}
	names, _, _ := bytes.Cut(bytes.TrimSpace(bytes.TrimPrefix(bytes.TrimSpace(lines[key.Line-1]),
		[]byte("@cert-authority"))), []byte(" "))
	return bytes.Contains(names, []byte("*"))
}

// place is where a key stands, "file:line".
func (k *knownHosts) place(key knownhosts.KnownKey) string {
	return fmt.Sprintf("%s:%d", k.file(key), key.Line)
}

// file is the file that a key stands in.
func (k *knownHosts) file(key knownhosts.KnownKey) string {
	if o, ok := k.original[key.Filename]; ok {
		return o
	}
	return key.Filename
}

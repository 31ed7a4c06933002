package hostkey

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // names in known_hosts are hashed so
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"
)

// marker is what a line of known_hosts begins with.
type marker string

const (
	plainLine     marker = ""
	authorityLine marker = "@cert-authority"
	revokedLine   marker = "@revoked"
)

// entry is a line of known_hosts for the host in question.
type entry struct {
	marker marker
	key    ssh.PublicKey
	// place is where it stands, "file:line".
	place string
	// byCommand says that KnownHostsCommand printed it.
	byCommand bool
}

// lines are known_hosts lines from one source (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT).
type lines struct {
	// name is the file, or the command.
	name      string
	text      string
	byCommand bool
}

// readKnownHosts reads files. As for ssh, one that is missing or cannot be read is no error. The latter are named in
// bad.
func readKnownHosts(files []string) (all []lines, bad []string) {
	for _, f := range files {
		text, err := os.ReadFile(f)
		switch {
		case err == nil:
			all = append(all, lines{name: f, text: string(text)})
		case !errors.Is(err, fs.ErrNotExist):
			bad = append(bad, err.Error())
		}
	}
	return all, bad
}

// entries returns the lines for name, which is the host as known_hosts has it, in small letters. Lines that cannot be
// read are left out, as ssh does, and named in bad if they are, or may be, for that name.
func (l lines) entries(name string) (found []entry, bad []string) {
	number := 0
	for line := range strings.Lines(l.text) {
		number++
		e := entry{byCommand: l.byCommand}
		line, _, _ = strings.Cut(strings.TrimSuffix(line, "\n"), "\x00")
		forHost, err := e.parse(line, name)
		if !forHost && err == nil {
			continue
		}
		if e.place = l.name + ":" + strconv.Itoa(number); err != nil {
			bad = append(bad, fmt.Sprintf("%s (%v)", e.place, err))
			continue
		}
		found = append(found, e)
	}
	return found, bad
}

const blanks = " \t"

// parse reads a line. It returns false for one that is not for name, and an error for one that cannot be read.
func (e *entry) parse(line, name string) (forHost bool, err error) {
	line = strings.TrimLeft(line, blanks)
	if line == "" || line == "\r" || line[0] == '#' {
		return false, nil
	}
	if line[0] == '@' {
		word, rest := cutBlank(line)
		e.marker = marker(word)
		// ssh reads a marker up to a space, unless the line has only tabs. A revoked key counts all the same.
		tab := strings.HasPrefix(line[len(word):], "\t") && strings.Contains(line, " ")
		if e.marker != revokedLine && (e.marker != authorityLine || tab) || strings.HasPrefix(rest, "@") {
			return false, errors.New("unknown marker")
		}
		line = rest
	}
	names, rest := cutBlank(line)
	if rest == "" {
		return false, errors.New("no key")
	}
	if forHost, err = matchNames(name, names); !forHost || err != nil {
		return false, err
	}
	if e.key, err = parseKnownKey(rest, e.marker == revokedLine); err != nil {
		return false, err
	}
	return true, nil
}

// cutBlank splits at the first white space.
func cutBlank(s string) (word, rest string) {
	end := strings.IndexAny(s, blanks)
	if end < 0 {
		return s, ""
	}
	return s[:end], strings.TrimLeft(s[end:], blanks)
}

// matchNames reports whether the names of a line, patterns or a hashed one, are for name.
func matchNames(name, names string) (bool, error) {
	if !strings.HasPrefix(names, "|") {
		return MatchPatternList(name, names, true), nil
	}
	salt, sum, ok := strings.Cut(strings.TrimPrefix(names, hashMagic), "|")
	raw, err := base64.StdEncoding.DecodeString(salt)
	if !ok || err != nil || !strings.HasPrefix(names, hashMagic) || len(raw) != sha1.Size {
		return false, errors.New("a hashed name that is malformed")
	}
	return sum == hashName(name, raw), nil
}

// hashMagic begins a hashed name: |1|SALT|HASH.
const hashMagic = "|1|"

func hashName(name string, salt []byte) string {
	mac := hmac.New(sha1.New, salt)
	mac.Write([]byte(name))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// parseKnownKey reads "TYPE BASE64 COMMENT". A revoked key counts even if its type is misspelled.
func parseKnownKey(text string, revoked bool) (ssh.PublicKey, error) {
	name, rest := cutBlank(text)
	encoded, _ := cutBlank(rest)
	blob, err := base64.StdEncoding.DecodeString(strings.Trim(encoded, "\r\v\f"))
	if err != nil {
		return nil, errors.New("no key")
	}
	key, err := ssh.ParsePublicKey(blob)
	if err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "ssh: "))
	}
	rsa := key.Type() == ssh.KeyAlgoRSA && (name == ssh.KeyAlgoRSASHA256 || name == ssh.KeyAlgoRSASHA512)
	if name != key.Type() && !rsa && !revoked {
		return nil, errors.New("a key of another type than it says")
	}
	return key, nil
}

// knownName is how known_hosts has a host at a port, 0 for one without.
func knownName(host string, port int) string {
	if port == 0 || port == 22 {
		return host
	}
	return "[" + host + "]:" + strconv.Itoa(port)
}

// knownLine is a line for key. The name is hashed if hashed is set.
func knownLine(name string, key ssh.PublicKey, hashed bool) string {
	if hashed {
		salt := make([]byte, sha1.Size)
		_, _ = rand.Read(salt) // never fails
		name = hashMagic + base64.StdEncoding.EncodeToString(salt) + "|" + hashName(name, salt)
	}
	return name + " " + strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}

// addressOf returns the address of another machine, the only kind of which ssh compares keys, or an empty one.
func addressOf(remote net.Addr) string {
	tcp, ok := remote.(*net.TCPAddr)
	if !ok || tcp.IP.IsLoopback() || tcp.IP.IsUnspecified() {
		return ""
	}
	return tcp.IP.String()
}

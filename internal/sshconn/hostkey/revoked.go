package hostkey

import (
	"bytes"
	"fmt"
	"os"

	"golang.org/x/crypto/ssh"
)

// revocation is a file that revokes keys (RevokedHostKeys of ssh_config): public keys, a line each, or a key revocation
// list.
type revocation struct {
	file string
	keys map[string]bool
	list *krl
}

// readRevocation reads a file. As for ssh, a file or a line that cannot be read is an error: it may revoke the key in
// question.
func readRevocation(file string) (*revocation, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	r := &revocation{file: file, keys: map[string]bool{}}
	if bytes.HasPrefix(text, krlMagic) {
		if r.list, err = parseKRL(text); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		return r, nil
	}
	n := 0
	for line := range bytes.Lines(text) {
		n++
		if line = bytes.TrimSpace(line); len(line) == 0 || line[0] == '#' {
			continue
		}
		key, _, options, _, err := ssh.ParseAuthorizedKey(line)
		if err != nil || len(options) > 0 {
			return nil, fmt.Errorf("%s:%d has no public key", file, n)
		}
		r.keys[string(Plain(key).Marshal())] = true
	}
	return r, nil
}

// revokes reports whether the file revokes a key, or a certificate, its key or its authority.
func (r *revocation) revokes(key ssh.PublicKey) bool {
	if r.list != nil {
		return r.list.revokes(key)
	}
	cert, certified := key.(*ssh.Certificate)
	return r.keys[string(Plain(key).Marshal())] || certified && r.keys[string(cert.SignatureKey.Marshal())]
}

package sshconn

// accept_new: a host's first key is recorded in known_hosts, also when several processes meet the host at the same time.

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/rogpeppe/go-internal/lockedfile"
	skeema "github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// record adds key to the first known_hosts file, unless somebody did meanwhile; another key that somebody recorded is a fault.
func (k *hostKeys) record(addr string, remote net.Addr, key ssh.PublicKey) error {
	files := k.conn.settings.knownHostsFiles()
	if len(files) == 0 {
		return k.conn.fault(Misconfigured, "host_key_checking is accept_new, and no known_hosts file is there to record its key", "Set known_hosts_files", nil)
	}
	failed := func(err error) error {
		return k.conn.fault(HostKeyUnknown, fmt.Sprintf("its key %s could not be recorded in %s (%s)", fingerprint(key), files[0], err),
			"Make that file writable, or set host_key", err)
	}
	if err := os.MkdirAll(filepath.Dir(files[0]), 0o700); err != nil {
		return failed(err)
	}
	f, err := lockedfile.OpenFile(files[0], os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return failed(err)
	}
	defer f.Close()
	if k.known, err = readKnownHosts(files); err != nil {
		return failed(err)
	}
	var mismatch *knownhosts.KeyError
	err = k.known.db.HostKeyCallback()(addr, remote, key)
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &mismatch) || len(k.plainLines(addr, mismatch.Want)) > 0:
		return k.explain(addr, key, err)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		return failed(err)
	}
	line := skeema.Line([]string{addr}, plainKey(key)) + "\n"
	if len(text) > 0 && !bytes.HasSuffix(text, []byte("\n")) {
		line = "\n" + line
	}
	if _, err := f.Write([]byte(line)); err != nil {
		return failed(err)
	}
	if err := f.Sync(); err != nil {
		return failed(err)
	}
	c := k.conn
	c.pool.log(c.pool.ctx, "SSH host key recorded", map[string]any{"host": c.host, "address": addr, "key": fingerprint(key), "file": files[0]})
	return nil
}

package hostkey

// accept_new: a host's first key is recorded in known_hosts, also when several processes meet the host at the same
// time.

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/rogpeppe/go-internal/lockedfile"
	"golang.org/x/crypto/ssh"

	"github.com/host-provider/terraform-provider-host/internal/sshconn/fault"
)

// record adds key to the first known_hosts file, unless somebody did meanwhile; another key that somebody recorded is a
// fault. What KnownHostsCommand has printed still counts.
func (k *Verifier) record(printed []lines, key ssh.PublicKey) error {
	files := k.rules.Files
	if len(files) == 0 {
		return k.faults.New(fault.Misconfigured,
			"host_key_checking is accept_new, and no known_hosts file is there to record its key",
			"Set known_hosts_files", nil)
	}
	failed := func(err error) error {
		return k.faults.New(fault.HostKeyUnknown,
			fmt.Sprintf("its key %s could not be recorded in %s (%s)", Fingerprint(key), files[0], err),
			"Make that file writable, or set host_key", err)
	}
	if err := os.MkdirAll(filepath.Dir(files[0]), 0o700); err != nil {
		return failed(err)
	}
	// A file beside it, since Windows lets nobody read what is locked.
	unlock, err := lockedfile.MutexAt(files[0] + ".lock").Lock()
	if err != nil {
		return failed(err)
	}
	defer unlock()
	k.known, k.unreadable = readKnownHosts(files)
	if f := k.decide(printed, key); f.status != unknown || f.final {
		return k.explain(key, f)
	}
	if err := appendLine(files[0], knownLine(k.rules.name(), Plain(key), k.rules.Hashed)); err != nil {
		return failed(err)
	}
	k.log("SSH host key recorded", map[string]any{"host": k.faults.Host, "address": k.rules.name(),
		"key": Fingerprint(key), "file": files[0]})
	return nil
}

// appendLine adds a line to a file in one write, which others who append without the lock do not break into.
func appendLine(file, line string) error {
	text, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(text) > 0 && !bytes.HasSuffix(text, []byte("\n")) {
		line = "\n" + line
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(line + "\n")
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

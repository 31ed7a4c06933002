package sshdtest

import (
	"archive/tar"
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"os"
	"strings"
	"syscall"

	"golang.org/x/crypto/ssh"
)

// files is what a host has in place of, or besides, the machine's files: accounts, sshd's and sudo's settings, keys.
type files struct {
	archive             bytes.Buffer // tar
	hostKey, privateKey string
}

const (
	firstUID    = 2000
	baseSudoers = "Defaults env_reset, mail_badpass\nDefaults secure_path=\"" + searchPath + "\"\nroot ALL=(ALL:ALL) ALL\n"
)

// newFiles makes keys and lays out the files of a host called name.
func newFiles(o Options, name string) (*files, error) {
	f := &files{}
	users := o.Users
	if len(users) == 0 {
		public, private, err := newKey()
		if err != nil {
			return nil, err
		}
		f.privateKey = private
		users = []User{{Name: "root", AuthorizedKeys: []string{public}}}
	}
	public, private, err := newKey()
	if err != nil {
		return nil, err
	}
	f.hostKey = public
	w := &treeWriter{tw: tar.NewWriter(&f.archive)}
	w.file("etc/ssh/ssh_host_ed25519_key", 0o600, 0, 0, private)
	w.file("etc/ssh/ssh_host_ed25519_key.pub", 0o644, 0, 0, public+"\n")
	w.file("etc/ssh/sshd_config", 0o644, 0, 0, sshdConfig(o, users))
	w.file("etc/hostname", 0o644, 0, 0, name+"\n")
	w.file("etc/hosts", 0o644, 0, 0, "127.0.0.1 localhost\n::1 localhost\n127.0.1.1 "+name+"\n")
	if o.NoSFTP {
		w.file("run/no-sftp", 0o600, 0, 0, "")
	}
	if o.Server == "dropbear" {
		w.file("run/dropbear", 0o600, 0, 0, "")
	}
	if err := w.accounts(users, o.Shell); err != nil {
		return nil, err
	}
	sudoers := baseSudoers
	for _, u := range users {
		switch u.Sudo {
		case "nopasswd":
			sudoers += u.Name + " ALL=(ALL:ALL) NOPASSWD: ALL\n"
		case "password":
			sudoers += u.Name + " ALL=(ALL:ALL) ALL\n"
		}
	}
	w.file("etc/sudoers", 0o440, 0, 0, sudoers+ended(o.Sudoers))
	if w.err == nil {
		w.err = w.tw.Close()
	}
	return f, w.err
}

// sshdConfig is Debian's, without X11.
func sshdConfig(o Options, users []User) string {
	s := ended(o.SSHDConfig)
	for _, u := range users {
		if u.Name == "root" && u.Password != "" {
			s += "PermitRootLogin yes\n"
		}
	}
	s += "HostKey /etc/ssh/ssh_host_ed25519_key\nKbdInteractiveAuthentication no\nUsePAM yes\nPrintMotd no\nAcceptEnv LANG LC_*\n"
	if o.NoSFTP {
		return s
	}
	for _, dir := range []string{"/usr/lib/openssh", "/usr/libexec/openssh", "/usr/lib/ssh", "/usr/libexec"} {
		path := dir + "/sftp-server"
		if _, err := os.Stat(path); err == nil {
			return s + "Subsystem sftp " + path + "\n"
		}
	}
	return s + "Subsystem sftp internal-sftp\n"
}

// treeWriter writes a tar archive and keeps the first error.
type treeWriter struct {
	tw  *tar.Writer
	err error
}

func (w *treeWriter) add(h *tar.Header, content string) {
	if w.err == nil {
		w.err = w.tw.WriteHeader(h)
	}
	if w.err == nil {
		_, w.err = w.tw.Write([]byte(content))
	}
}

func (w *treeWriter) file(path string, mode int64, uid, gid int, content string) {
	w.add(&tar.Header{Typeflag: tar.TypeReg, Name: path, Mode: mode, Uid: uid, Gid: gid, Size: int64(len(content))}, content)
}

func (w *treeWriter) dir(path string, mode int64, uid int) {
	w.add(&tar.Header{Typeflag: tar.TypeDir, Name: path, Mode: mode, Uid: uid, Gid: uid}, "")
}

// accounts writes passwd, group and shadow: the machine's accounts without their passwords, and the users.
func (w *treeWriter) accounts(users []User, shell string) error {
	ours := map[string]bool{}
	for _, u := range users {
		ours[u.Name] = true
	}
	passwd, err := os.ReadFile("/etc/passwd")
	if err != nil {
		return err
	}
	group, err := os.ReadFile("/etc/group")
	if err != nil {
		return err
	}
	login := "/bin/bash"
	if _, err := os.Stat(login); err != nil || shell == "busybox" {
		login = "/bin/sh"
	}
	var accounts, groups, shadow, passwords strings.Builder
	accounts.WriteString("root:x:0:0:root:/root:" + login + "\n")
	groups.WriteString("root:x:0:\n")
	shadow.WriteString(shadowLine("root"))
	for line := range strings.Lines(string(passwd)) {
		if name, _, _ := strings.Cut(line, ":"); name != "root" && !ours[name] {
			accounts.WriteString(ended(line))
			shadow.WriteString(shadowLine(strings.TrimSpace(name)))
		}
	}
	for line := range strings.Lines(string(group)) {
		if name, _, _ := strings.Cut(line, ":"); name != "root" && !ours[name] {
			groups.WriteString(ended(line))
		}
	}
	for i, u := range users {
		uid, home := firstUID+i, "home/"+u.Name
		if u.Name == "root" {
			uid, home = 0, "root"
		} else {
			fmt.Fprintf(&accounts, "%s:x:%d:%d::/%s:%s\n", u.Name, uid, uid, home, login)
			fmt.Fprintf(&groups, "%s:x:%d:\n", u.Name, uid)
			shadow.WriteString(shadowLine(u.Name))
			w.dir(home, 0o755, uid)
		}
		if u.Password != "" {
			passwords.WriteString(u.Name + ":" + u.Password + "\n")
		}
		if len(u.AuthorizedKeys) > 0 {
			w.dir(home+"/.ssh", 0o700, uid)
			w.file(home+"/.ssh/authorized_keys", 0o600, uid, uid, strings.Join(u.AuthorizedKeys, "\n")+"\n")
		}
	}
	w.file("etc/passwd", 0o644, 0, 0, accounts.String())
	w.file("etc/group", 0o644, 0, 0, groups.String())
	w.file("etc/shadow", 0o640, 0, groupOf("/etc/shadow"), shadow.String())
	if passwords.Len() > 0 {
		w.file("run/passwords", 0o600, 0, 0, passwords.String())
	}
	return nil
}

// shadowLine is an account that takes no password but is not locked.
func shadowLine(name string) string { return name + ":*:20000:0:99999:7:::\n" }

// groupOf is the group that owns a file of the machine, 0 where that cannot be known.
func groupOf(path string) int {
	if fi, err := os.Stat(path); err == nil {
		if st, ok := fi.Sys().(*syscall.Stat_t); ok {
			return int(st.Gid)
		}
	}
	return 0
}

// ended is s with a newline at its end, unless it is empty.
func ended(s string) string {
	if s == "" || strings.HasSuffix(s, "\n") {
		return s
	}
	return s + "\n"
}

// newKey makes an Ed25519 key: a line as in authorized_keys, and the private half in OpenSSH's form.
func newKey() (public, private string, err error) {
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", "", err
	}
	block, err := ssh.MarshalPrivateKey(priv, "")
	if err != nil {
		return "", "", err
	}
	key, err := ssh.NewPublicKey(pub)
	if err != nil {
		return "", "", err
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))), string(pem.EncodeToMemory(block)), nil
}

// check refuses options that would make another host than was meant, or a broken file.
func (o Options) check() error {
	if o.Shell != "" && o.Shell != "busybox" {
		return fmt.Errorf("option Shell is %q, want \"\" or \"busybox\"", o.Shell)
	}
	if o.Server != "" && o.Server != "dropbear" {
		return fmt.Errorf("option Server is %q, want \"\" or \"dropbear\"", o.Server)
	}
	seen := map[string]bool{}
	for _, u := range o.Users {
		if u.Name == "" || strings.ContainsAny(u.Name, ":/\n \t,") || seen[u.Name] {
			return fmt.Errorf("user name %q is empty, taken, or not a user name", u.Name)
		}
		seen[u.Name] = true
		if strings.Contains(u.Password, "\n") {
			return fmt.Errorf("the password of %s holds a newline", u.Name)
		}
		if u.Sudo != "" && u.Sudo != "nopasswd" && u.Sudo != "password" {
			return fmt.Errorf("option Sudo of %s is %q, want \"\", \"nopasswd\" or \"password\"", u.Name, u.Sudo)
		}
	}
	return nil
}

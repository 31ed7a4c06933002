package hostkey

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// Guards that files of revoked keys, lines and lists, revoke what ssh-keygen -Q says they do.
func TestRevocationsAsSSHKeygenReadsThem(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	keygen := func(args ...string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), "ssh-keygen", args...).CombinedOutput()
		if err != nil {
			t.Fatalf("ssh-keygen %q: %v\n%s", args, err, out)
		}
		return string(out)
	}
	for _, name := range []string{"ca", "other-ca", "a", "b"} {
		keygen("-q", "-t", "ed25519", "-N", "", "-f", path(name))
	}
	read := func(name string) string {
		t.Helper()
		text, err := os.ReadFile(path(name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	keys := []string{"a.pub", "b.pub"}
	certify := func(name, ca, key, serial, id string) {
		t.Helper()
		if err := os.WriteFile(path(name+".pub"), []byte(read(key+".pub")), 0o600); err != nil {
			t.Fatal(err)
		}
		keygen("-q", "-s", path(ca), "-h", "-n", "web1", "-z", serial, "-I", id, path(name+".pub"))
		keys = append(keys, name+"-cert.pub")
	}
	certify("c0", "ca", "a", "0", "zero")
	certify("c5", "ca", "a", "5", "five")
	certify("c70", "ca", "b", "70", "seventy")
	certify("o5", "other-ca", "b", "5", "five")
	hash := func(name string) string { return strings.Fields(keygen("-l", "-f", path(name)))[1] }
	krl := func(name, ca string, spec ...string) {
		t.Helper()
		if err := os.WriteFile(path("spec"), []byte(strings.Join(spec, "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		args := []string{"-q", "-k", "-f", path(name)}
		if ca != "" {
			args = append(args, "-s", path(ca))
		}
		keygen(append(args, path("spec"))...)
	}
	files := map[string]func(name string){
		"lines":                     func(name string) { write(t, path(name), "# old\n\n "+read("a.pub")) },
		"a line with an authority":  func(name string) { write(t, path(name), read("ca.pub")) },
		"no line":                   func(name string) { write(t, path(name), "") },
		"a key":                     func(name string) { krl(name, "", "key: "+read("b.pub")) },
		"an authority":              func(name string) { krl(name, "", "key: "+read("other-ca.pub")) },
		"a key by SHA1":             func(name string) { krl(name, "", "sha1: "+read("a.pub")) },
		"a key by SHA256":           func(name string) { krl(name, "", "sha256: "+read("b.pub")) },
		"a key by its fingerprint":  func(name string) { krl(name, "", "hash: "+hash("a.pub")) },
		"a serial number":           func(name string) { krl(name, "ca.pub", "serial: 5") },
		"serial numbers in a range": func(name string) { krl(name, "ca.pub", "serial: 4-1000") },
		"serial numbers, scattered": func(name string) {
			krl(name, "ca.pub", "serial: 1", "serial: 3", "serial: 5", "serial: 9", "serial: 70", "serial: 72", "serial: 75")
		},
		"names of certificates": func(name string) { krl(name, "other-ca.pub", "id: five", "id: zero") },
		"nothing":               func(name string) { krl(name, "", "") },
	}
	for name, write := range files {
		t.Run(name, func(t *testing.T) {
			write("revoked")
			r, err := readRevocation(path("revoked"))
			if err != nil {
				t.Fatal(err)
			}
			some := false
			for _, k := range keys {
				key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(read(k)))
				if err != nil {
					t.Fatal(err)
				}
				want := !strings.HasPrefix(name, "a line") && !strings.HasPrefix(name, "no line") && name != "lines"
				if want { // ssh-keygen reads lists alone
					want = exec.CommandContext(t.Context(), "ssh-keygen", "-Q", "-f", path("revoked"), path(k)).Run() != nil
				} else {
					want = name == "lines" && slices.Contains([]string{"a.pub", "c0-cert.pub", "c5-cert.pub"}, k) ||
						strings.HasPrefix(name, "a line") && slices.Contains([]string{"c0-cert.pub", "c5-cert.pub", "c70-cert.pub"}, k)
				}
				if some = some || want; r.revokes(key) != want {
					t.Errorf("it revokes %s: %v, and for ssh-keygen %v", k, !want, want)
				}
			}
			if !some && name != "nothing" && name != "no line" {
				t.Error("it revokes nothing")
			}
			if name == "a key" {
				text := read("revoked")
				if _, err := parseKRL([]byte(text[:len(text)-1])); err == nil {
					t.Error("a list that ends too early was taken")
				}
			}
		})
	}
}

// Guards that what cannot be read in a file of revoked keys is an error, and no key that is not revoked.
func TestRevocationThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	if _, err := readRevocation(filepath.Join(dir, "missing")); err == nil {
		t.Error("a missing file was taken")
	}
	for _, text := range []string{"ssh-ed25519 AAAA\n", "no key\n", "SSHKRL\n\x00", "SSHKRL\n\x00\x00\x00\x00\x02"} {
		write(t, filepath.Join(dir, "revoked"), text)
		if _, err := readRevocation(filepath.Join(dir, "revoked")); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

// Guards that no text makes the reader of lists panic.
func FuzzKRL(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x01"))
	f.Fuzz(func(_ *testing.T, text []byte) {
		_, _ = parseKRL(append(krlMagic[:len(krlMagic):len(krlMagic)], text...))
	})
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

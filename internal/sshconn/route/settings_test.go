package route

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

func TestHostEntryTakesTheDefaultsForWhatItLeavesOut(t *testing.T) {
	yes, no := true, false
	defaults := Settings{Login: Login{User: "ops", Port: 1, PrivateKey: "k", PrivateKeyPassphrase: "p", Password: "w",
		Agent: &yes, HostKey: hostKey,
		KnownHosts: []string{"f"}}, Root: Root{Sudo: &yes, SudoPassword: "s"}}
	if got := (Settings{Address: "a"}).withDefaults(defaults); got.Address != "a" ||
		!reflect.DeepEqual(got.withDefaults(Settings{}), func() Settings {
			d := defaults
			d.Address = "a"
			return d
		}()) {
		t.Errorf("all of them: %+v", got)
	}
	if got := (Settings{Root: Root{Doas: &yes}}).withDefaults(defaults); got.Sudo != nil || !*got.Doas {
		t.Errorf("doas beside the defaults' sudo: %+v", got)
	}
	own := Settings{Address: "a", Login: Login{User: "x", Port: 2, PrivateKey: "k2", Password: "w2", Agent: &no,
		HostKey: "h2", KnownHosts: []string{}}, Root: Root{Sudo: &no, SudoPassword: "s2"}}
	if got := own.withDefaults(defaults); !reflect.DeepEqual(got, own) {
		t.Errorf("none of them, not even the passphrase of another key: %+v", got)
	}
}

func TestPlainDefaults(t *testing.T) {
	s, err := (&Resolver{}).Resolve("web1")
	if err != nil || s.User != "root" || s.Port != 22 || s.RootBy() != "" {
		t.Errorf("got %+v, %v", s, err)
	}
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{filepath.Join(home, ".ssh/known_hosts"), "/etc/ssh/ssh_known_hosts"}
	if got := s.KnownHostsFiles(); !reflect.DeepEqual(got, want) {
		t.Errorf("known_hosts: %v, want %v", got, want)
	}
}

package route

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Guards that each piece of ssh_config in the guide means here what it means to ssh, for every host that it names, and
// that the provider finds a way to that host.
func TestGuideMeansWhatItMeansToSSH(t *testing.T) {
	guide, err := os.ReadFile("../../../docs/guides/connecting.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(guide), "\n```sshconfig\n")[1:]
	if len(blocks) < 8 {
		t.Fatalf("%d pieces of ssh_config: the guide is not read", len(blocks))
	}
	newOracle := sshOracleOf(t)
	for _, text := range blocks {
		text, _, _ = strings.Cut(text, "```")
		o := newOracle()
		t.Setenv("HOME", o.dir)
		main := filepath.Join(o.dir, ".ssh", "config")
		if err := os.MkdirAll(filepath.Dir(main), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, main, text)
		config, resolver := o.read(t, main), sshResolver(t, Sources{})
		for _, host := range namedHosts(t, text) {
			if known, refused := o.compare(t, config, text, main, host); !known || refused {
				t.Errorf("ssh refuses %s of\n%s", host, text)
			}
			r, err := resolver.Resolve(host)
			if err != nil {
				t.Errorf("%s of\n%s\n%v", host, text, err)
				continue
			}
			if h, err := config.host(host, sshGiven{}); err != nil || h.runsProxy() != (r.ProxyCommand != "") {
				t.Errorf("%s of\n%s\nis reached by the command %q, %v", host, text, r.ProxyCommand, err)
			}
		}
	}
}

// namedHosts are hosts that the lines Host of a text are for: each pattern, with a name for its wildcard.
func namedHosts(t *testing.T, text string) (hosts []string) {
	t.Helper()
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) == 0 || words[0] != "Host" {
			continue
		}
		for _, pattern := range words[1:] {
			if !strings.HasPrefix(pattern, "!") {
				hosts = append(hosts, strings.ReplaceAll(pattern, "*", "web1"))
			}
		}
	}
	if len(hosts) == 0 {
		t.Errorf("no host is named in\n%s", text)
	}
	return hosts
}

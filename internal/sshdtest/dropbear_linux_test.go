package sshdtest

import (
	"strings"
	"testing"
)

// Guards that a host with dropbear and BusyBox is what the tests take it for: dropbear answers, with the host key that is told, and the commands are BusyBox's.
func TestDropbearWithBusyBox(t *testing.T) {
	h := startHost(t, Options{Server: "dropbear", Shell: "busybox"})
	c := mustDial(t, h, "root", key(t, h.PrivateKey()))
	if v := string(c.ServerVersion()); !strings.Contains(v, "dropbear") {
		t.Errorf("the server is %s", v)
	}
	const commands = "sh cat grep mv rm ls sync chmod mkdir sort tr wc modprobe sysctl"
	out, err := command(t, c, `for c in `+commands+`; do [ "$(readlink -f "$(command -v $c)")" = "$(readlink -f "$(command -v busybox)")" ] || echo $c; done`, "")
	if err != nil || out != "" {
		t.Errorf("not BusyBox's: %s, %v", out, err)
	}
}

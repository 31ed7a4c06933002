package sshdtest

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os/exec"
	"strings"
)

// link is the pair of network interfaces between the machine and a host, with a /30 of 198.18.0.0/15, which RFC 2544 keeps for tests. Its number is taken
// by making the interface of that name, so that several processes never take the same one. It vanishes with the host's network namespace.
type link struct {
	number int
	inside string // address with prefix length
}

const links = 1 << 15 // the /30s of 198.18.0.0/15

// newLink makes eth0 in the network namespace of a process, and its other end here.
func newLink(pid int) (*link, error) {
	var err error
	first := rand.IntN(links)
	for i := range links {
		l := &link{number: (first + i) % links}
		l.inside = l.address(2).String() + "/30"
		if err = l.make(pid); err == nil {
			return l, nil
		}
		if !taken(err) {
			break
		}
	}
	return nil, err
}

// make makes the interfaces, with eth0 in the network namespace of a process.
func (l *link) make(pid int) error {
	return ipBatch(
		fmt.Sprintf("link add %s type veth peer name eth0 netns %d", l.name(), pid),
		fmt.Sprintf("address add %s/30 dev %s", l.address(1), l.name()),
		fmt.Sprintf("link set %s up", l.name()),
	)
}

// taken reports whether make failed because its link is there.
func taken(err error) bool { return strings.Contains(err.Error(), "File exists") }

func (l *link) name() string        { return fmt.Sprintf("sshdtest%d", l.number) }
func (l *link) hostName() string    { return fmt.Sprintf("host%d", l.number) }
func (l *link) hostAddress() string { return l.address(2).String() }

// address is the i-th of the link's /30.
func (l *link) address(i int) netip.Addr {
	n := l.number*4 + i
	return netip.AddrFrom4([4]byte{198, byte(18 + n>>16), byte(n >> 8), byte(n)})
}

// remove is for after the host's last process: the kernel takes the interface away by itself, but later.
func (l *link) remove() error {
	err := ipBatch("link delete " + l.name())
	if err != nil && (strings.Contains(err.Error(), "Cannot find device") || strings.Contains(err.Error(), "No such device")) {
		return nil // the kernel was faster
	}
	return err
}

// ipBatch runs `ip -batch` with these lines.
func ipBatch(lines ...string) error {
	path, err := program("ip")
	if err != nil {
		return err
	}
	cmd := exec.Command(path, "-batch", "-")
	cmd.Env = []string{"LC_ALL=C"}
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %s", lines[0], strings.TrimSpace(string(out)))
	}
	return nil
}

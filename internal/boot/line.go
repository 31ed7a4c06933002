package boot

import "github.com/host-provider/terraform-provider-host/internal/sysctl"

// Line is the line that decides about a key.
type Line struct {
	sysctl.Assignment
	order int
}

// After reports whether l is written after another line of the same prediction.
func (l Line) After(other Line) bool { return l.order > other.order }

// Line returns the line that gives k its value when systemd-sysctl applies the files; ok is false if none does. Whether
// the value holds is for Key: it knows of the kernel command line, of other keys and of the init system too.
func (p *Prediction) Line(k sysctl.Key) (l Line, ok bool) {
	o := p.sysctls.decide(k).option
	if o == nil {
		return Line{}, false
	}
	return Line{o.Assignment, o.order}, true
}

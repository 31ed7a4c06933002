package route

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/host-provider/terraform-provider-host/internal/sshconn/hostkey"
)

// sshVersion is the version of OpenSSH that is followed here.
const sshVersion = "OpenSSH_10.5p1"

// errNobodyRuns is why a Match exec is not decided.
var errNobodyRuns = errors.New("which is decided by a command, and ssh_config_commands is false")

// sshCriteria are the criteria of Match that have an argument. The value says whether it may be empty.
var sshCriteria = map[string]bool{
	"command": true, "exec": false, "host": false, "localnetwork": false, "localuser": false, "originalhost": false,
	"sessiontype": false, "tagged": true, "user": false, "version": false,
}

// matchLine decides whether a Match is for the host. All criteria have to hold; those behind one that does not are read
// all the same, but no command is run for them. Where a command would decide and none is run, the block is in doubt.
func (r *sshReading) matchLine(f *sshConfigFile, line *sshConfigLine, in sshBlock) (sshBlock, error) {
	block := sshBlock{active: true, doubt: in.doubt}
	args := line.args
	count := 0
	for ; len(args) > 0 && !strings.HasPrefix(args[0], "#"); count++ {
		name, negated := strings.CutPrefix(args[0], "!")
		args = args[1:]
		switch lower := strings.ToLower(name); lower {
		case "all":
			if count > 1 || len(args) > 0 && args[0] != "" && args[0][0] != '#' {
				return block, line.wrongMatch(f, errors.New("which has all beside other criteria"))
			}
			block.active = block.active && !negated && in.active
			return block, nil
		case "final", "canonical":
			r.wantsFinal = r.wantsFinal || lower == "final" && !negated
			block.active = block.active && r.final != negated
			continue
		}
		name, argument, ok := strings.Cut(name, "=")
		name = strings.ToLower(name)
		if _, known := sshCriteria[name]; !known {
			return block, line.wrongMatch(f, fmt.Errorf("which has %q, and that is no criterion of Match", name))
		}
		if !ok {
			if len(args) == 0 {
				return block, line.wrongMatch(f, fmt.Errorf("which has no argument of %s", name))
			}
			argument, args = args[0], args[1:]
		}
		if argument == "" && !sshCriteria[name] || strings.HasPrefix(argument, "#") {
			return block, line.wrongMatch(f, fmt.Errorf("which has no argument of %s", name))
		}
		var holds bool
		var err error
		if name == "exec" {
			holds, err = r.execHolds(argument, block.active)
			if errors.Is(err, errNobodyRuns) {
				holds, err = !negated, nil
				if block.doubt == nil {
					block.doubt = line.wrongMatch(f, errNobodyRuns)
				}
			}
		} else {
			holds, err = r.criterionHolds(name, argument)
		}
		if err != nil {
			return block, line.wrongMatch(f, err)
		}
		block.active = block.active && holds != negated
	}
	if count == 0 {
		return block, line.wrongMatch(f, errors.New("which has no criterion"))
	}
	block.active = block.active && in.active
	return block, nil
}

// execHolds says whether a command succeeds. It is not run unless everything before it holds.
func (r *sshReading) execHolds(command string, run bool) (bool, error) {
	t, err := r.tokens()
	if err == nil {
		command, err = t.expand(command, pathTokens, false)
	}
	if err != nil || !run {
		return false, err
	}
	if r.exec == nil {
		return false, errNobodyRuns
	}
	return r.exec(command)
}

func (r *sshReading) criterionHolds(name, argument string) (bool, error) {
	switch name {
	case "host":
		host, err := r.target()
		return hostkey.MatchPatternList(strings.ToLower(host), argument, true), err
	case "originalhost":
		return hostkey.MatchPatternList(strings.ToLower(r.alias), argument, true), nil
	case "user":
		return hostkey.MatchPatternList(r.user(), argument, false), nil
	case "localuser":
		return hostkey.MatchPatternList(r.local.user, argument, false), nil
	case "localnetwork":
		return r.inNetworks(argument)
	case "version":
		return hostkey.MatchPatternList(r.version, argument, false), nil
	case "tagged":
		return matchOptional(r.h.tag, argument), nil
	case "command":
		return matchOptional("", argument), nil // as for `ssh host`, which names no command
	case "sessiontype":
		session := r.h.sessionType
		if session == "" || session == "default" {
			session = "shell"
		}
		return hostkey.MatchPatternList(session, argument, false), nil
	}
	return false, nil
}

// matchOptional matches what may not be set, which an empty pattern matches and no other does.
func matchOptional(s, patterns string) bool {
	if s == "" {
		return patterns == ""
	}
	return hostkey.MatchPatternList(s, patterns, false)
}

// inNetworks says whether this machine has an address in one of some networks, which have commas between them.
func (r *sshReading) inNetworks(list string) (bool, error) {
	var prefixes []netip.Prefix
	for entry := range strings.SplitSeq(list, ",") {
		prefix, err := netip.ParsePrefix(entry)
		if err != nil {
			var addr netip.Addr
			if addr, err = netip.ParseAddr(entry); err == nil {
				prefix, err = addr.Prefix(addr.BitLen())
			}
		}
		if err != nil || prefix.Masked() != prefix || prefix.Addr().Zone() != "" {
			return false, fmt.Errorf("which has %q, and that is no network", entry)
		}
		prefixes = append(prefixes, prefix)
	}
	addresses, err := r.networks()
	if err != nil {
		return false, nil // ssh takes an unknown network for another one
	}
	for _, a := range addresses {
		for _, p := range prefixes {
			if p.Contains(a) {
				return true, nil
			}
		}
	}
	return false, nil
}

// Shell is the user's shell, by which ssh runs the commands of ssh_config.
func Shell() string { return cmp.Or(os.Getenv("SHELL"), "/bin/sh") }

// CommandEnvironment is the environment of the commands of ssh_config: that of the process, but for variables that hold
// a secret of any host.
func (s Sources) CommandEnvironment() []string {
	all := []Settings{s.Defaults, s.Environment}
	for _, host := range s.Hosts {
		all = append(all, host)
	}
	secret := map[string]bool{}
	for _, settings := range all {
		if b := settings.Bastion; b != nil {
			all = append(all, Settings{Login: b.Login})
		}
	}
	for _, settings := range all {
		for _, text := range settings.Secrets() {
			secret[text] = text != ""
		}
	}
	return slices.DeleteFunc(os.Environ(), func(variable string) bool {
		_, value, _ := strings.Cut(variable, "=")
		return secret[value]
	})
}

// matchExecTime is how long a command of Match exec may take.
const matchExecTime = time.Minute

// runMatchExec runs a command as ssh does: with the user's shell, and without input or output. It ends with ctx.
func (s Sources) runMatchExec(ctx context.Context, command string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, matchExecTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, Shell(), "-c", command)
	InGroup(cmd)
	cmd.Env = s.CommandEnvironment()
	cmd.Cancel = func() error {
		Kill(cmd)
		return nil
	}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return true, nil
	case errors.As(err, &exit) && exit.Exited():
		return false, nil
	}
	return false, fmt.Errorf("which has a command that did not end: %w", err)
}

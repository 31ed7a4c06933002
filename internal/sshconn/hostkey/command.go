package hostkey

// KnownHostsCommand of ssh_config: a program that prints lines of known_hosts.

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/host-provider/terraform-provider-host/internal/sshconn/fault"
)

// Command is a program that prints lines of known_hosts, and may be asked twice for a connection.
type Command struct {
	// Args are the program's path and its arguments, in which the tokens in CommandTokens and %% have to be replaced.
	Args []string
	// Run runs it and returns what it prints. An error is any end but the exit status 0.
	Run func(ctx context.Context, args []string) ([]byte, error)
}

// CommandTokens are the %-tokens that depend on what a Command is asked for.
const CommandTokens = "HIftK"

// What a Command is asked for: which types of keys are known, or the keys of a host.
const (
	forOrder   = "ORDER"
	forHost    = "HOSTNAME"
	forAddress = "ADDRESS"
)

// ask runs the command, if there is one. key is the one that the host shows, nil while none is known.
func (k *Verifier) ask(ctx context.Context, why, name string, key ssh.PublicKey) ([]lines, error) {
	if len(k.rules.Command.Args) == 0 {
		return nil, nil
	}
	tokens := []string{"%%", "%", "%H", name, "%I", why, "%f", "NONE", "%t", "NONE", "%K", "NONE"}
	if key != nil {
		tokens = []string{"%%", "%", "%H", name, "%I", why, "%f", ssh.FingerprintSHA256(Plain(key)), "%t", key.Type(),
			"%K", base64.StdEncoding.EncodeToString(key.Marshal())}
	}
	args := []string{k.rules.Command.Args[0]}
	for _, arg := range k.rules.Command.Args[1:] {
		args = append(args, strings.NewReplacer(tokens...).Replace(arg))
	}
	text, err := k.rules.Command.Run(ctx, args)
	if err != nil {
		return nil, k.faults.New(fault.HostKeyUnknown, fmt.Sprintf("its KnownHostsCommand %s failed (%v), so that no host "+
			"key counts", args[0], err), "Run 'ssh' to the host, or that command by hand, to see what it needs; or set "+
			"host_key, which does without it", err)
	}
	return []lines{{name: "KnownHostsCommand-" + why, text: string(text), byCommand: true}}, nil
}

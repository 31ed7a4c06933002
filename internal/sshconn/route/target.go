package route

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ParseTarget reads [user@]address[:port].
func ParseTarget(host string) (Settings, error) {
	var s Settings
	if strings.Contains(host, "://") {
		return s, errors.New("it is a URL")
	}
	rest := host
	if i := strings.LastIndexByte(host, '@'); i >= 0 {
		if s.User, rest = host[:i], host[i+1:]; s.User == "" {
			return s, errors.New("nothing stands before the @")
		}
		if strings.ContainsFunc(s.User, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) {
			return s, errors.New("the user holds white space")
		}
	}
	if _, err := netip.ParseAddr(rest); err == nil {
		s.Address = rest
		return s, nil
	}
	bracketed := strings.HasPrefix(rest, "[")
	switch {
	case bracketed && strings.HasSuffix(rest, "]"):
		s.Address = rest[1 : len(rest)-1]
	case strings.Contains(rest, ":"):
		address, port, err := net.SplitHostPort(rest)
		if err != nil {
			return s, errors.New("address and port cannot be told apart")
		}
		n, err := strconv.Atoi(port)
		if err != nil || n < 1 || n > 65535 {
			return s, fmt.Errorf("%q is no TCP port", port)
		}
		s.Address, s.Port = address, n
	default:
		s.Address = rest
	}
	if bracketed {
		if _, err := netip.ParseAddr(s.Address); err != nil {
			return s, errors.New("the brackets hold no IP address")
		}
	}
	return s, checkAddress(s.Address)
}

// errUserName is what checkUser returns.
var errUserName = errors.New("the user's name holds a character that is none of a name")

// checkUser returns an error for a user whom ssh refuses if its command line names it, whatever the way to the host.
func checkUser(name string) error {
	if strings.HasPrefix(name, "-") || strings.HasSuffix(name, `\`) {
		return errUserName
	}
	for i, c := range name {
		if unicode.IsControl(c) || strings.ContainsRune("'`\";&<>|(){}", c) ||
			unicode.IsSpace(c) && strings.HasPrefix(name[i+utf8.RuneLen(c):], "-") {
			return errUserName
		}
	}
	return nil
}

func checkAddress(a string) error {
	if a == "" {
		return errors.New("the address is empty")
	}
	if _, err := netip.ParseAddr(a); err == nil {
		return nil
	}
	if strings.HasPrefix(a, "-") || strings.ContainsFunc(a, func(r rune) bool {
		return unicode.IsSpace(r) || !unicode.IsPrint(r) || strings.ContainsRune(`/\@:[]'"$;&<>|(){},`+"`", r)
	}) {
		return errors.New("the address holds a character that no host name has")
	}
	return nil
}

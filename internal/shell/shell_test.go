package shell

import (
	"bytes"
	"errors"
	"os/exec"
	"reflect"
	"strings"
	"testing"
)

const nonce = "5c1f0a9e"

// session runs scripts in one real /bin/sh, as a connection does.
func session(t *testing.T, scripts ...Script) []Result {
	t.Helper()
	in := bytes.NewBufferString(Prologue(nonce))
	for _, s := range scripts {
		text, err := Encode(nonce, s)
		if err != nil {
			t.Fatal(err)
		}
		in.WriteString(text)
	}
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-s")
	cmd.Stdin = in
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	_, out, found := bytes.Cut(out, Ready(nonce))
	if !found {
		t.Fatalf("no ready line in %q", out)
	}
	var results []Result
	for len(out) > 0 {
		r, n, err := Decode(nonce, out)
		if err != nil || n == 0 {
			t.Fatalf("after %d replies: %d, %v, %q", len(results), n, err, out)
		}
		results, out = append(results, r), out[n:]
	}
	return results
}

// Guards that whatever a user writes reaches the script as data, byte for byte, and that the next script is not touched by what one does.
func TestDataArrivesAsItIs(t *testing.T) {
	nasty := []string{
		"", "a b", "it's", `"$HOME" \n $(reboot) ` + "`reboot`", "line\nline", "EOF", "-n", "*", "\x1e" + nonce[:7], "ü\xff", strings.Repeat("x", 60000), "'\\''", "; exit 1",
	}
	const echo = "printf '%s|' \"$@\"\nrec in\ncat\n"
	var scripts []Script
	for _, s := range nasty {
		scripts = append(scripts, Script{Text: echo, Args: []string{s, "end"}, Stdin: s})
	}
	for i, r := range session(t, scripts...) {
		s := nasty[i]
		if got := r.Records[0].Body; got != s+"|end|" {
			t.Errorf("argument %.40q arrived as %.60q", s, got)
		}
		want := s
		if s != "" && !strings.HasSuffix(s, "\n") {
			want += "\n"
		}
		if got, _ := r.Get("in"); got != want {
			t.Errorf("standard input %.40q arrived as %.60q", s, got)
		}
	}
}

// Guards that a session outlives what a script does to its shell.
func TestSessionOutlivesItsScripts(t *testing.T) {
	got := session(t,
		Script{Text: "exit 3"}, Script{Text: "cat </nonexistent"}, Script{Text: "set -u; : $undefined_thing"}, Script{Text: "cd /; N=; rec() { :; }"},
		Script{Text: "read -r line; rec got $line"}, Script{Text: "rec last\nprintf 'no newline'"},
	)
	for i, zero := range []bool{false, false, false, true, true, true} {
		if (got[i].Status == 0) != zero {
			t.Errorf("script %d ended with %d", i, got[i].Status)
		}
	}
	if body, ok := got[5].Get("last"); !ok || body != "no newline" {
		t.Errorf("the last script printed %q", got[5].Records)
	}
}

// Guards what cannot be carried: it is refused before anything is sent.
func TestEncodeRefuses(t *testing.T) {
	for _, test := range []struct {
		name string
		in   Script
		want error
	}{
		{"NUL in an argument", Script{Args: []string{"a\x00b"}}, ErrNUL},
		{"NUL on standard input", Script{Stdin: "a\x00b"}, ErrNUL},
		{"the nonce as a line", Script{Stdin: "a\n" + nonce + "\nreboot\n"}, ErrGarbled},
	} {
		if _, err := Encode(nonce, test.in); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// Guards the reading of a reply that comes in pieces, is followed by another, or is not one.
func TestDecode(t *testing.T) {
	whole := "x\n\x1e" + nonce + " + a b\n1\n\n\x1e" + nonce + " = 2\n"
	want := Result{Status: 2, Records: []Record{{"", "x"}, {"a b", "1\n"}}}
	for i := range len(whole) {
		if _, n, err := Decode(nonce, []byte(whole[:i])); n != 0 || err != nil {
			t.Errorf("the first %d bytes: %d, %v", i, n, err)
		}
	}
	if r, n, err := Decode(nonce, []byte(whole+"more")); n != len(whole) || err != nil || !reflect.DeepEqual(r, want) {
		t.Errorf("%+v, %d, %v", r, n, err)
	}
	for _, garbled := range []string{"\n\x1e" + nonce + " = x\n", "\n\x1e" + nonce + " ? 1\n"} {
		if _, _, err := Decode(nonce, []byte(garbled)); !errors.Is(err, ErrGarbled) {
			t.Errorf("%q: %v", garbled, err)
		}
	}
}

// FuzzDecode guards that no output of a host panics, that what is taken was there and is the same without what follows, and that a reply gives back its records.
func FuzzDecode(f *testing.F) {
	f.Add([]byte("x\n\x1e" + nonce + " + a\n1\n\x1e" + nonce + " = 0\n"))
	f.Add([]byte("\n\x1e" + nonce + " "))
	f.Add([]byte("a\n\n1\x1e\n"))
	f.Fuzz(func(t *testing.T, out []byte) {
		r, n, err := Decode(nonce, out)
		if n < 0 || n > len(out) || err == nil && n > 0 && len(r.Records) == 0 {
			t.Errorf("%d of %d, %+v", n, len(out), r)
		}
		if again, m, err := Decode(nonce, out[:n]); n > 0 && (m != n || err != nil || !reflect.DeepEqual(again, r)) {
			t.Errorf("%+v from %d bytes, and %+v from those alone: %v", r, n, again, err)
		}
		if bytes.Contains(out, []byte("\x1e"+nonce+" ")) {
			return
		}
		body, mark := string(out), "\n\x1e"+nonce+" "
		reply := body + mark + "+ a\n" + body + mark + "+ b c\n" + mark + "= 3\nmore"
		want := Result{Status: 3, Records: []Record{{"", body}, {"a", body}, {"b c", ""}}}
		if r, n, err := Decode(nonce, []byte(reply)); n != len(reply)-len("more") || err != nil || !reflect.DeepEqual(r, want) {
			t.Errorf("%q is %+v, %d bytes: %v", reply, r, n, err)
		}
	})
}

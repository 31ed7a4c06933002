package oracletest

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

// trees returns how many random trees each differential test tries: BOOT_TREES, else 2,000 if CI is set and 200 if it
// is not.
func trees(t *testing.T) int {
	t.Helper()
	n := 200
	if os.Getenv("CI") != "" {
		n = 2000
	}
	if s := os.Getenv("BOOT_TREES"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil || n < 1 {
			t.Fatalf("BOOT_TREES=%q: want a number of trees, such as 100000", s)
		}
	}
	return n
}

// Differential tries check on random trees, half of them on each of two machines that prepare makes and that work at
// the same time. If CI is set the trees are the same every time, so that a red gate is about the change; BOOT_TREES
// looks for new ones.
func Differential[M any](t *testing.T, prepare func(t *testing.T, part int) M, check func(*rapid.T, M)) {
	if os.Getenv("BOOT_TREES") == "" && os.Getenv("CI") != "" {
		if err := flag.Set("rapid.seed", "1"); err != nil {
			t.Fatal(err)
		}
	}
	const parts = 2
	if err := flag.Set("rapid.checks", strconv.Itoa((trees(t)+parts-1)/parts)); err != nil {
		t.Fatal(err)
	}
	for part := range parts {
		m := prepare(t, part)
		t.Run(fmt.Sprintf("part %d", part+1), func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(rt *rapid.T) {
				for range part { // or the parts would try the same trees
					rapid.Uint64().Draw(rt, "part")
				}
				check(rt, m)
			})
		})
	}
}

//go:build !race

package host_test

// raceDetector says that the race detector watches the tests.
const raceDetector = false

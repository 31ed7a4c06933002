package route

// checkOwn returns nil: a file has no mode on Windows.
func checkOwn(string) error { return nil }

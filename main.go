// Command terraform-provider-host is the provider plugin that Terraform and OpenTofu start.
package main

import (
	"context"
	"flag"
	"log"
	"os"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/providerserver"

	hostprovider "github.com/host-provider/terraform-provider-host/internal/provider"
)

// version is set by the release build.
var version = "dev"

func main() {
	debug := flag.Bool("debug", false, "serve for a debugger: print how to attach the CLI, and stay")
	flag.Parse()
	if !*debug {
		logOnlyIfAsked()
	}
	p := hostprovider.New(version)
	err := providerserver.Serve(context.Background(), func() provider.Provider { return p },
		providerserver.ServeOpts{Address: hostprovider.Address, Debug: *debug})
	p.Close()
	if err != nil {
		log.Fatal(err)
	}
}

// logOnlyIfAsked turns logs off if no TF_LOG variable asks for any. Otherwise the plugin's SDK encodes every trace
// line, and the CLI decodes each and throws it away: a tenth of a plan's time.
func logOnlyIfAsked() {
	if slices.ContainsFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "TF_LOG") }) {
		return
	}
	for _, name := range []string{"TF_LOG_SDK", "TF_LOG_PROVIDER"} {
		if err := os.Setenv(name, "off"); err != nil {
			log.Fatal(err)
		}
	}
}

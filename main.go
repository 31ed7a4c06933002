// Command terraform-provider-host is the provider plugin that Terraform and OpenTofu start.
package main

import (
	"context"
	"flag"
	"log"

	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/providerserver"

	hostprovider "github.com/host-provider/terraform-provider-host/internal/provider"
)

// version is set by the release build.
var version = "dev"

func main() {
	debug := flag.Bool("debug", false, "serve for a debugger: print how to attach the CLI, and stay")
	flag.Parse()
	p := hostprovider.New(version)
	err := providerserver.Serve(context.Background(), func() provider.Provider { return p },
		providerserver.ServeOpts{Address: hostprovider.Address, Debug: *debug})
	p.Close()
	if err != nil {
		log.Fatal(err)
	}
}

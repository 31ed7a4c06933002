resource "host_kernel_module" "conntrack" {
  name = "nf_conntrack"

  parameters = {
    hashsize = "65536"
  }
}

# Unloaded again when the resource is destroyed; by default a module stays, since unloading one can cut connections.
resource "host_kernel_module" "bridge_filter" {
  host       = "db1"
  name       = "br_netfilter"
  on_destroy = "unload"
}

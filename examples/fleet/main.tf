# The same settings on every host of a fleet, with one provider: a resource names its host.

terraform {
  required_providers {
    host = {
      source = "host-provider/host"
    }
  }
}

provider "host" {
  user        = var.user
  private_key = file(var.private_key_file)
  sudo        = var.user != "root"
  hosts       = var.fleet
}

resource "host_kernel_module" "conntrack" {
  for_each = var.fleet
  host     = each.key
  name     = "nf_conntrack"
}

resource "host_sysctl" "be_liberal" {
  for_each = var.fleet
  host     = each.key
  key      = "net.netfilter.nf_conntrack_tcp_be_liberal"
  value    = "1"
  module   = host_kernel_module.conntrack[each.key].name
}

output "next_boot" {
  description = "What sets the key at the next boot, by host."
  value       = { for name, sysctl in host_sysctl.be_liberal : name => sysctl.boot_source }
}

variable "fleet" {
  description = "The hosts, by the name that resources and state use; a host_key that is left out is looked up in ~/.ssh/known_hosts."
  type = map(object({
    address  = string
    port     = optional(number)
    host_key = optional(string)
  }))
  default = {
    web1 = { address = "192.0.2.10" }
    web2 = { address = "192.0.2.11" }
    db1  = { address = "192.0.2.20", port = 2222 }
  }
}

variable "user" {
  description = "User to log in as; one that is not root becomes root through sudo."
  type        = string
  default     = "root"
}

variable "private_key_file" {
  description = "Private key to log in with."
  type        = string
  default     = "~/.ssh/id_ed25519"
}

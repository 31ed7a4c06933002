terraform {
  required_providers {
    host = {
      source = "host-provider/host"
    }
  }
}

variable "bastion" {
  description = "The jump host, as user@address:port, and its public key."
  type        = object({ host = string, host_key = string })
}

variable "fleet" {
  description = "The hosts behind it, by name."
  type        = map(object({ address = string, port = number, host_key = string }))
}

provider "host" {
  user        = "ops"
  private_key = file("~/.ssh/id_ed25519")
  sudo        = true
  bastion     = var.bastion
  unreachable = "warn" # one host that is down does not hold up the others
  hosts       = var.fleet
}

resource "host_sysctl" "swappiness" {
  for_each = var.fleet
  host     = each.key
  key      = "vm.swappiness"
  value    = "10"
}

# For a job of CI, which has no agent and no ssh_config that you trust. The private key is in the variable HOST_PRIVATE_KEY.

terraform {
  required_providers {
    host = {
      source = "host-provider/host"
    }
  }
}

provider "host" {
  user                = "ops"
  sudo                = true
  agent               = false
  ssh_config_commands = false                          # or ssh_config_files = [] to read no ssh_config at all
  known_hosts_files   = ["${path.module}/known_hosts"] # made once by ssh-keyscan, compared, and committed
  hosts               = { web1 = { address = var.address, port = var.port } }
}

resource "host_sysctl" "swappiness" {
  host  = "web1"
  key   = "vm.swappiness"
  value = "10"
}

variable "address" {
  type    = string
  default = "192.0.2.10"
}

variable "port" {
  type    = number
  default = 22
}

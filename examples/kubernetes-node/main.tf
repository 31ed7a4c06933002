# What a Kubernetes node needs before the kubelet starts: overlay file systems, bridged traffic that iptables sees, and forwarding.

terraform {
  required_providers {
    host = {
      source = "host-provider/host"
    }
  }
}

provider "host" {
  host        = var.address
  port        = var.port
  user        = var.user
  private_key = file(var.private_key_file)
  host_key    = var.host_key
  sudo        = var.user != "root"
}

resource "host_kernel_module" "overlay" {
  name = "overlay"
}

resource "host_kernel_module" "br_netfilter" {
  name = "br_netfilter"
}

# The net.bridge keys are there only as long as br_netfilter is.
resource "host_sysctl" "bridge" {
  for_each = {
    "net.bridge.bridge-nf-call-iptables"  = "1"
    "net.bridge.bridge-nf-call-ip6tables" = "1"
  }
  key    = each.key
  value  = each.value
  module = host_kernel_module.br_netfilter.name
}

resource "host_sysctl" "forward" {
  key   = "net.ipv4.ip_forward"
  value = "1"
}

variable "address" {
  description = "Address or name of the host."
  type        = string
  default     = "192.0.2.10"
}

variable "port" {
  description = "SSH port."
  type        = number
  default     = 22
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

variable "host_key" {
  description = "Public key of the host; what ~/.ssh/known_hosts says, if left out."
  type        = string
  default     = null
}

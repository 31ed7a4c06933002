# Does this host come back as it is now? Nothing on it needs to be managed by Terraform.
data "host_boot" "web1" {
  host      = "web1"
  also_keys = ["net.ipv4.ip_forward"]
}

check "web1_comes_back" {
  assert {
    condition = data.host_boot.web1.holds
    error_message = join("\n", concat(
      ["web1 does not come back as it is now:"],
      [for key, k in data.host_boot.web1.keys : "${key}: ${k.detail} ${k.remedy}" if !k.holds],
      [for name, m in data.host_boot.web1.modules : "${name}: ${m.detail} ${m.remedy}" if !m.holds],
      [for f in data.host_boot.web1.failures : "${f.unit}: ${f.source != null ? "${f.source}: " : ""}${f.detail}"],
    ))
  }
}

# A whole fleet, and what it would lose.
data "host_boot" "fleet" {
  for_each = toset(["web1", "db1"])
  host     = each.value
}

output "lost_at_reboot" {
  value = {
    for name, host in data.host_boot.fleet :
    name => { for key, k in host.keys : key => k.detail if !k.holds }
  }
}

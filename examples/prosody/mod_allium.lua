-- Hands what this server has for onion services to the component that loads this
-- module, which is Allium's. For a server whose own name is an onion name: see
-- native.cfg.lua. Copy it to /usr/local/lib/prosody/modules (where plugin_paths says).

-- Peers that call themselves by ordinary names: as the [[peer]] sections with a domain
-- in allium.toml.
local peers = module:get_option_set("allium_peers", {});

local function take(event)
	if event.to_host:find("%.onion$") or peers:contains(event.to_host) then
		return module:fire_event(event.stanza.name.."/bare", event); -- mod_component sends it
	end
end

-- Before s2s (-1), and before whatever else looks at names.
local function watch(host)
	module:hook_object_event(prosody.hosts[host].events, "route/remote", take, 300);
end

for host in pairs(prosody.hosts) do watch(host); end
module:hook_global("host-activated", watch);

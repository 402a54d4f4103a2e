-- Sees to what this server has for onion services; load it on Allium's component. Copy it to
-- /usr/local/lib/prosody/modules (where plugin_paths says).
--
-- Where the server's own name is an onion name, and Allium speaks for people at all onion
-- services (native.cfg.lua), it hands that to the component. With a gateway (allium.cfg.lua)
-- it refuses it, before Prosody looks the name up in DNS, which would tell the name server,
-- and tells the sender which address that has here.
local st = require "util.stanza";
local jid = require "util.jid";

local native = not module:get_option_boolean("validate_from_addresses", true);

-- Peers that call themselves by ordinary names: as the [[peer]] sections with a domain
-- in allium.toml.
local peers = module:get_option_set("allium_peers", {});

local function refuse(stanza)
	if stanza.attr.type ~= "error" and stanza.attr.type ~= "result" then
		local here = jid.escape(jid.bare(stanza.attr.to)).."@"..module.host;
		module:send(st.error_reply(stanza, "cancel", "not-allowed", "The address of this contact here is "..here));
	end
	return true;
end

local function take(event)
	if not native then
		if event.to_host:find("%.onion$") then return refuse(event.stanza); end
	elseif event.to_host:find("%.onion$") or peers:contains(event.to_host) then
		return module:fire_event(event.stanza.name.."/bare", event); -- mod_component sends it
	end
end

-- Before s2s (-1), and before whatever else looks at names; what is refused, behind
-- mod_onions (200), should that be here too.
local function watch(host)
	module:hook_object_event(prosody.hosts[host].events, "route/remote", take, native and 300 or 100);
end

for host in pairs(prosody.hosts) do watch(host); end
module:hook_global("host-activated", watch);
